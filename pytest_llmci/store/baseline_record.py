"""What a baseline holds: the sessions of one name on one kind of machine, and what it takes to run them again.

History of the schema:

llmci-baseline/1   first version
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ..metrics import MetricDef
from ..records import GenerationSettings, Json, ModelSpec, Prompt
from .comparability import Difference, Part

FAMILY: Final = "llmci-baseline/"
SCHEMA: Final = f"{FAMILY}1"


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineModel:
    """One model, as it was when its cells were measured."""

    alias: str
    spec: ModelSpec
    subject: dict[str, Json]
    """What was on trial: see :func:`~pytest_llmci.store.comparability.subject_part`."""
    values: dict[str, list[float]] = field(default_factory=dict)
    """Metric of scope ``worker`` -> its number at each start of the model's process, as stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineMemory:
    """What the memory pass of a cell measured, in a process with an allocator of its own."""

    method: str
    """How, as in ``memory_method``."""
    samples: dict[str, list[float]]
    """Metric of scope ``memory`` -> its number in each round that has it, as stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineCell:
    """One cell as one test measured it. Contended, failed, repeated and reference blocks are left out."""

    id: str
    model: str
    """Alias."""
    prompt: str
    """Key of its row in :attr:`BaselineRecord.prompts`."""
    test: str
    """Node id."""
    generation: GenerationSettings
    protocol: dict[str, Json]
    """What was asked and how it was measured: see :func:`~pytest_llmci.store.comparability.protocol_part`."""
    rounds: int
    """Samples: measured rounds, or means of ``repeats`` rounds in a row where answers are too short to be timed alone."""
    samples: dict[str, list[float | None]]
    """Metric of scope ``round`` -> its number in each sample, as stored; only what can be compared."""
    processes: list[int]
    """Samples of each start of the model's process, in order; they sum to ``rounds``."""
    repeats: int = 1
    noisy_rounds: int = 0
    """Samples with a noisy round."""
    outputs: list[str] = field(default_factory=list)
    """sha256 of each distinct output."""
    output_of_round: list[int] = field(default_factory=list)
    """Index into ``outputs`` and ``finish_reasons`` of each sample's first round."""
    finish_reasons: list[str] = field(default_factory=list)
    """Of the first round that gave the output."""
    checks: dict[str, bool] = field(default_factory=dict)
    """Check -> whether the output passed it."""
    memory_pass: BaselineMemory | None = None
    """None where there was none."""

    @property
    def pairs(self) -> tuple[int, ...]:
        """Which start of the model's process each sample came from, from 0."""
        return tuple(number for number, count in enumerate(self.processes) for _ in range(count))


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineTask:
    """The answers to one benchmark task."""

    id: str
    """Of the cell: ``<alias>-<task>``."""
    model: str
    task: str
    test: str
    """Node id."""
    main: str
    """The metric that is the score."""
    label: str
    """How many of how many questions."""
    questions_sha256: str
    prompt_sha256: str
    right: list[float]
    """What each question adds to the metric, 0 to 1, in the order of the file."""
    deterministic: bool | None = None
    """Whether questions that were asked twice got the same numbers to the last bit; None where none was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where the numbers came from, and how to run them again."""

    commit: str | None
    """Of the checkout; None outside of one."""
    dirty: bool
    """True where tracked files were changed."""
    lock_files: dict[str, str] = field(default_factory=dict)
    """Name of a lock file in the project's root -> its sha256."""
    command: list[str] = field(default_factory=list)
    settings: dict[str, Json] = field(default_factory=dict)
    """Of the session: :data:`~pytest_llmci.store.baseline_log.RUN_SETTINGS`."""
    python: str = ""
    packages: dict[str, Json] = field(default_factory=dict)
    """Package -> version, of those that can change a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineSession:
    """What one session measured."""

    saved: str
    """UTC, ISO 8601."""
    run_id: str
    version: str
    """Of pytest-llmci."""
    origin: Origin
    models: list[BaselineModel]
    cells: list[BaselineCell]
    tasks: list[BaselineTask] = field(default_factory=list)
    """Benchmark tasks that were answered to their end."""

    def cell(self, cell_id: str, test: str = "") -> BaselineCell | None:
        """The cell of that id: the one of that test, else the first."""
        found = [cell for cell in self.cells if cell.id == cell_id]
        return next((cell for cell in found if cell.test == test), found[0] if found else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineRecord:
    """One file: the sessions of one name on one kind of machine."""

    schema: str
    """:data:`SCHEMA`."""
    name: str
    environment: dict[str, Json]
    """The machine: see :func:`~pytest_llmci.store.comparability.environment_part`."""
    environment_digest: str
    metrics: list[MetricDef]
    """Unit and direction of what the sessions hold; the definitions stand in docs/metrics.md."""
    prompts: dict[str, Prompt]
    """Whole rows, so that they can be asked again; the key is the row's id and a short digest of the row."""
    sessions: list[BaselineSession]
    """Oldest first, at least one."""

    @property
    def newest(self) -> BaselineSession:
        """The session that a comparison is made with."""
        return self.sessions[-1]

    def cell(self, cell_id: str, test: str = "") -> BaselineCell | None:
        """The newest session's cell of that id: the one of that test, else the first."""
        return self.newest.cell(cell_id, test)

    @property
    def cells_with_memory_pass(self) -> frozenset[str]:
        """Ids of the newest session's cells that had a memory pass."""
        return frozenset(cell.id for cell in self.newest.cells if cell.memory_pass is not None)

    def model(self, alias: str) -> BaselineModel | None:
        """The newest session's model of that alias."""
        return next((model for model in self.newest.models if model.alias == alias), None)

    def values(self, cell: BaselineCell, metric: str) -> list[float]:
        """The sample of a metric in SI, in the order of measuring, missing rounds left out; empty where there is none."""
        return self._si(metric, cell.samples.get(metric, ()))

    def worker_values(self, alias: str, metric: str, session: BaselineSession | None = None) -> list[float]:
        """A metric of scope ``worker`` at each start of the model's process in a session, the newest if None, in SI."""
        model = next((each for each in (session or self.newest).models if each.alias == alias), None)
        return self._si(metric, model.values.get(metric, ())) if model else []

    def _si(self, metric: str, stored: Iterable[float | None]) -> list[float]:
        definition = next((each for each in self.metrics if each.name == metric), None)
        known = [value for value in stored if value is not None]
        return [definition.to_si(value) for value in known] if definition else known


def time_of(session: BaselineSession) -> datetime | None:
    """When the session was saved; None where that is no time."""
    try:
        found = datetime.fromisoformat(session.saved)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def protocol_differences(
    record: BaselineRecord, cell_id: str, planned: Part, test: str = ""
) -> tuple[Difference, ...] | None:
    """Where a cell is asked or measured otherwise than when the baseline was saved, from then to now.

    Facts that ``planned`` does not name are not compared: some are known only when the cell has been measured.

    :param planned: :func:`~pytest_llmci.store.comparability.planned_protocol`, or the whole part afterwards.
    :returns: None if the baseline does not have the cell.
    """
    cell = record.cell(cell_id, test)
    if cell is None:
        return None
    return Part({name: cell.protocol.get(name) for name in planned.facts}).differences(planned)
