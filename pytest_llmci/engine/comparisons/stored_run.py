"""A finished run as a side of a comparison: read from its log in one pass, packed, nothing kept that is not compared."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from statistics import fmean, median
from typing import Final, TypeAlias

from ...errors import StoreError
from ...measure.memory import GROWTH
from ...measure.starts import START_TIMES
from ...metrics import BESIDE, MetricDef
from ...records import (
    HeaderRecord,
    Json,
    LogRecord,
    ModelSpec,
    QuestionsRecord,
    RoundsRecord,
    VerdictRecord,
    WorkerRecord,
)
from ...store.comparability import Part, environment_part, place_part, protocol_part, subject_part
from ...store.log import LOG_NAME, LogReader
from ...store.machines import environment_of
from ..answers import Answers
from ..imported import BACKEND
from ..reports.report import replayed_run
from ..under_load import GATED_UNDER_LOAD
from .cell_samples import CellSamples, MemoryPass, anchor_of, samples_of
from .exact import MEAN_LENGTH

COMPARED: Final = (
    "cpu_time",
    "net_time",
    "latency",
    "peak_rss",
    "output_tokens",
    "cost",
    *BESIDE.values(),
    *GATED_UNDER_LOAD,
)
"""Metrics that are read whatever is asked for."""
MOST_SAMPLES: Final = 200
"""Of an imported cell in a comparison, which takes every pair of samples of both sides."""
_KINDS: Final = ("header", "worker", "rounds", "questions", "verdict")
_NOT_FINITE: Final = "a measured number was not finite"
Key: TypeAlias = tuple[str, str]
"""Alias and prompt id: what pairs a cell with that of another run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCell:
    """One cell as one test of a run measured it."""

    id: str
    model: str
    prompt_id: str
    test: str
    rounds: int
    """Samples of time; 0 where the test only called the model in its body, or nothing was finished."""
    numbers: Mapping[str, array[float]]
    """Metric -> SI, one number a sample."""
    reasons: Mapping[str, str]
    outputs: tuple[str, ...]
    """sha256 of the distinct outputs."""
    answers: int
    """How many answers those were."""
    checks: Mapping[str, bool]
    protocol: Part | None
    """None where no round was finished."""
    memory_methods: frozenset[str]
    contended: bool
    error: str
    """Why measuring failed; empty if it did not."""
    anchor: str = ""
    """The frozen model that was timed beside its rounds; empty where there was none."""
    memory_pass: MemoryPass = field(default_factory=MemoryPass)
    runs: tuple[int, ...] = ()
    """Of an imported cell: rounds of each run of the tool, one behind the other."""
    judged_by: tuple[str, ...] = ()
    """Of an imported cell: what is gated where it has no time a round."""

    @property
    def key(self) -> Key:
        """What it is paired by."""
        return self.model, self.prompt_id

    @property
    def load(self) -> str:
        """The scenario of a cell under load; empty for all others."""
        return "" if self.protocol is None else str(self.protocol.facts.get("load") or "")

    @property
    def samples(self) -> CellSamples:
        """The same as the comparing engine takes it."""
        return CellSamples(
            values={name: column.tolist() for name, column in self.numbers.items()},
            reasons=self.reasons,
            pairs=(0,) * self.rounds,
            outputs=self.outputs,
            memory_methods=self.memory_methods,
            contended=self.contended,
            anchor=self.anchor,
            memory_pass=self.memory_pass,
        )

    @property
    def condensed(self) -> CellSamples:
        """:attr:`samples` of an imported cell, of which there may be thousands: means of several in a row."""
        each = -(-self.rounds // MOST_SAMPLES)
        if each < 2:
            return self.samples
        starts = range(0, self.rounds - each + 1, each)
        means = {name: [fmean(column[at : at + each]) for at in starts] for name, column in self.numbers.items()}
        return replace(self.samples, values=means, pairs=(0,) * len(starts))

    @property
    def by_run(self) -> CellSamples:
        """:attr:`samples` of an imported cell, one a run of the tool: the median of its rounds."""
        ends = list(accumulate(self.runs))
        medians = {
            name: [median(column[end - n : end]) for end, n in zip(ends, self.runs, strict=True)]
            for name, column in self.numbers.items()
        }
        return replace(self.samples, values=medians, pairs=(0,) * len(self.runs))


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredModel:
    """What a run knows of one model."""

    spec: ModelSpec
    subject: Part
    environment: Part
    """The machine, with the accelerator that the model ran on."""
    on_cpu: bool
    """Whether it computed on the machine's CPU."""
    starts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Time of a process's start -> SI, one number for each start that told it."""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of a commit of the hub: path -> checksum of each file that was there."""

    @property
    def place(self) -> Part:
        """:attr:`environment`, with the server that the model is behind."""
        return place_part(self.environment, self.subject)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRun:
    """One side."""

    folder: Path
    run_id: str
    started: str
    """UTC, ISO 8601."""
    metrics: Mapping[str, MetricDef]
    environment: Mapping[str, Json]
    models: Mapping[str, StoredModel]
    cells: Mapping[Key, tuple[StoredCell, ...]] = field(repr=False)
    """Most keys have one cell; several tests may have measured one each."""
    answers: Mapping[Key, Answers] = field(default_factory=dict, repr=False)
    """Alias and benchmark task -> its answers, where all questions have one."""

    @property
    def name(self) -> str:
        """The run as people know it."""
        return self.run_id

    @property
    def commit(self) -> str:
        """Of the checkout that was measured; empty outside one."""
        git = self.environment.get("git")
        return str(git.get("commit") or "") if isinstance(git, dict) else ""

    @property
    def imported(self) -> bool:
        """Whether another tool measured it."""
        return any(model.spec.backend == BACKEND for model in self.models.values())

    def __len__(self) -> int:
        return sum(map(len, self.cells.values()))


def read_run(folder: Path, metrics: Collection[str] = ()) -> StoredRun:
    """Read a run folder's log. Memory: eight bytes a compared number, and about a kilobyte a cell.

    What counts is what counts in a report: rounds measured under the schedule in blocks that were finished, of the last
    attempt of each test.

    :param metrics: wanted beside :data:`COMPARED`.
    :raises LogTamperedError: if a line is not what was written.
    :raises StoreError: if the log cannot be read or has no header.
    """
    path = folder / LOG_NAME
    wanted = frozenset((*COMPARED, GROWTH, *metrics, *_of_import(path)))
    gathering = Gathering(wanted)
    for record in LogReader(path, _KINDS, metrics=wanted):
        gathering.take(record)
    if gathering.header is None:
        raise StoreError(f"{path} has no header.")
    refuse_replayed(gathering.header)
    return gathering.run(folder, gathering.header)


def refuse_replayed(header: HeaderRecord) -> None:
    """Keep what was not measured out of all that is for measurements.

    :raises StoreError: if the run is a replay of another.
    """
    if other := replayed_run(header.settings):
        raise StoreError(
            f"run {header.run_id} is a replay of {other} and measured nothing: it is compared with nothing, becomes no baseline and is"
            f" not promoted; take {other}."
        )


def _of_import(path: Path) -> tuple[str, ...]:
    """What an imported run is judged by; empty for one of ours."""
    header = next(iter(LogReader(path, ("header",))), None)
    judged = header.settings.get("judged_by") if isinstance(header, HeaderRecord) else None
    return (*map(str, judged), MEAN_LENGTH) if isinstance(judged, list) else ()


class Gathering:
    """What the lines of a log have told so far."""

    def __init__(self, wanted: frozenset[str]) -> None:
        """:param wanted: metrics that are kept; :data:`COMPARED` ones always are."""
        self._wanted = wanted.union(COMPARED)
        self._metrics: dict[str, MetricDef] = {}
        self._seen: set[str] = set()
        self._workers: dict[str, WorkerRecord] = {}
        self._cells: dict[tuple[str, str, str], _Cell] = {}
        self._verdicts: dict[tuple[str, str], VerdictRecord] = {}
        self._answers: dict[Key, Answers] = {}
        self.header: HeaderRecord | None = None

    def take(self, record: LogRecord) -> None:
        """Take the record of the next line."""
        if isinstance(record, HeaderRecord):
            self.header = record
            self._metrics = {metric.name: metric for metric in record.metrics if metric.name in self._wanted}
        elif (
            isinstance(record, (WorkerRecord, RoundsRecord, QuestionsRecord, VerdictRecord))
            and record.uid not in self._seen
        ):
            self._seen.add(record.uid)
            self._take_new(record)

    def _take_new(self, record: WorkerRecord | RoundsRecord | QuestionsRecord | VerdictRecord) -> None:
        if isinstance(record, WorkerRecord):
            if record.role == "timing":
                self._workers[record.uid] = record
        elif isinstance(record, QuestionsRecord):
            if record.origin in ("measured", "replay"):
                self._answers.setdefault((record.model, record.task.name), Answers()).take(record)
        elif isinstance(record, VerdictRecord):
            if record.task:
                if record.error is not None:
                    self._answers.pop((record.model, record.task), None)
                return
            there = self._verdicts.get((record.cell, record.test))
            if there is None or record.attempt >= there.attempt:
                self._verdicts[record.cell, record.test] = replace(record, comparisons=[], budgets=[])
        elif record.origin in ("measured", "call", "memory"):
            key = (record.model, record.prompt_id, record.test)
            cell = self._cells.get(key)
            if cell is None or record.attempt > cell.attempt:
                cell = self._cells[key] = _Cell(record)
            if record.attempt == cell.attempt:
                cell.take(record, self._metrics, self._workers.get(record.worker))

    def run(self, folder: Path, header: HeaderRecord) -> StoredRun:
        """The side that was read."""
        cells: dict[Key, list[StoredCell]] = {}
        verdicts = {cell: verdict for (cell, _), verdict in self._verdicts.items()}
        for cell in self._cells.values():
            verdict = self._verdicts.get((cell.id, cell.test)) or verdicts.get(cell.id)
            cells.setdefault(cell.key, []).append(cell.stored(verdict))
        for verdict in self._verdicts.values():  # of cells whose model never answered
            key = verdict.model, verdict.prompt_id
            if verdict.prompt_id and key not in cells and (verdict.error is not None or verdict.checks):
                cells[key] = [_unanswered(verdict)]
        return StoredRun(
            folder=folder,
            run_id=header.run_id,
            started=header.started,
            metrics={metric.name: metric for metric in header.metrics},
            environment=header.environment,
            models=dict(self._models(header)),
            cells={key: tuple(found) for key, found in cells.items()},
            answers={key: answers for key, answers in self._answers.items() if answers.is_complete},
        )

    def _models(self, header: HeaderRecord) -> Iterator[tuple[str, StoredModel]]:
        starts = self._starts(header)
        for worker in self._workers.values():  # the last start that got as far as to know its model
            if worker.error is None or not worker.info:
                environment = environment_of(header, worker.model, worker)
                device = str(worker.info.get("device") or worker.spec.options.get("device") or "cpu")
                yield (
                    worker.model,
                    StoredModel(
                        spec=worker.spec,
                        subject=subject_part(worker, environment),
                        environment=environment_part(environment, worker.info),
                        on_cpu=not device.startswith(("cuda", "mps")),
                        starts=starts.get(worker.model, {}),
                        files=_files_of(worker),
                    ),
                )

    def _starts(self, header: HeaderRecord) -> dict[str, dict[str, tuple[float, ...]]]:
        """Alias -> what its starts took."""
        metrics = [metric for metric in header.metrics if metric.name in START_TIMES]
        found: dict[str, dict[str, tuple[float, ...]]] = {}
        for worker in self._workers.values():
            own = found.setdefault(worker.model, {})
            for metric in metrics if worker.error is None else ():
                value = worker.values.get(metric.name)
                if value is not None and math.isfinite(value):
                    own[metric.name] = (*own.get(metric.name, ()), metric.to_si(value))
        return found


class _Cell:
    """The blocks of one cell in one test, of its last attempt so far."""

    __slots__ = (
        "_answers", "_checks", "_error", "_imported", "_judged_by", "_memory", "_outputs", "_parts", "_protocol", "attempt", "id", "key",
        "test",
    )  # fmt: skip

    def __init__(self, block: RoundsRecord) -> None:
        self.id, self.key, self.test, self.attempt = (
            block.cell,
            (block.model, block.prompt_id),
            block.test,
            block.attempt,
        )
        self._parts: list[CellSamples] = []
        self._memory = MemoryPass()
        self._outputs: dict[str, None] = {}
        self._answers = 0
        self._protocol: Part | None = None
        self._error = ""
        self._imported = block.provenance == "imported"
        self._judged_by: tuple[str, ...] = ()

    def take(self, block: RoundsRecord, metrics: Mapping[str, MetricDef], worker: WorkerRecord | None) -> None:
        if block.origin == "memory":
            self._memory = self._memory.with_block(block)
            return
        if block.error is not None:
            self._error = block.error.message
            return
        if not block.n:
            return
        if self._protocol is None and worker is not None:
            self._protocol = protocol_part(block, worker)
            judged = worker.info.get("judged_by") if self._imported else None
            self._judged_by = tuple(map(str, judged)) if isinstance(judged, list) else ()
        self._outputs.update(dict.fromkeys(block.output_sha256))
        self._answers += block.n
        if block.origin == "measured":
            self._parts.append(samples_of([block], metrics))

    def stored(self, verdict: VerdictRecord | None) -> StoredCell:
        rounds = sum(part.n for part in self._parts)
        numbers: dict[str, array[float]] = {}
        reasons = {name: reason for part in self._parts for name, reason in part.reasons.items()}
        for name in dict.fromkeys(name for part in self._parts for name in part.values):
            column = array("d", [value for part in self._parts for value in part.values.get(name, ())])
            if not all(map(math.isfinite, column)):
                reasons.setdefault(name, _NOT_FINITE)
            elif len(column) == rounds:
                numbers[name] = column
        error = verdict.error.message if verdict is not None and verdict.error is not None else self._error
        return StoredCell(
            id=self.id, model=self.key[0], prompt_id=self.key[1], test=self.test, rounds=rounds, numbers=numbers, reasons=reasons,
            outputs=tuple(self._outputs), answers=self._answers, checks=_checks(verdict), protocol=self._protocol,
            memory_methods=frozenset(name for part in self._parts for name in part.memory_methods),
            contended=any(part.contended for part in self._parts), error=error, anchor=anchor_of(part.anchor for part in self._parts),
            memory_pass=self._memory,
            runs=tuple(part.n for part in self._parts) if self._imported else (), judged_by=self._judged_by,
        )  # fmt: skip


def _checks(verdict: VerdictRecord | None) -> dict[str, bool]:
    return {} if verdict is None else {check.name: check.passed for check in verdict.checks}


def _unanswered(verdict: VerdictRecord) -> StoredCell:
    return StoredCell(
        id=verdict.cell, model=verdict.model, prompt_id=verdict.prompt_id, test=verdict.test, rounds=0, numbers={}, reasons={},
        outputs=(), answers=0, checks=_checks(verdict), protocol=None, memory_methods=frozenset(), contended=False,
        error=verdict.error.message if verdict.error is not None else "it gave no answer",
    )  # fmt: skip


def _files_of(worker: WorkerRecord) -> dict[str, str]:
    found = worker.info.get("snapshot_files")
    lines = [str(line).partition("  ") for line in found] if isinstance(found, list) else []
    return {name: checksum for checksum, _, name in lines}
