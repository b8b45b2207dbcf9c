"""Runs the recorded cells of a run again, as they were recorded, and says whether the same comes out.

The engine of a session measures them: one process a model, the same loop. Nothing is written, and no time is compared.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from .. import measure
from ..clock import Clock
from ..engine.observer import Observer
from ..engine.schedule import CellMeasurement, CellPlan
from ..engine.session import BenchSession
from ..errors import ConfigError, LLMCIError
from ..records import (
    Cell,
    ErrorInfo,
    GenerationSettings,
    HeaderRecord,
    Json,
    LogRecord,
    ModelSpec,
    Prompt,
    RoundsRecord,
    WorkerRecord,
)
from ..redaction import Redactor
from ..registry import Registry
from ..runner.wire import pack_arguments
from ..settings import Settings
from ..store.comparability import Difference, Part, subject_part
from ..store.environment import environment
from ..store.log import LOG_NAME, LogReader

T = TypeVar("T")
Outcome = Literal["identical", "differs", "not reproduced"]
END: Final = "<end of the answer>"
"""What stands for a token where the other answer goes on."""
_TOKEN_TEXTS: Final = "pytest_llmci.runner.pieces:token_texts"
_PASSING: Final = ("load_average", "cpu_pressure_percent", "steal_percent", "speed_probe_ms", "ci")
"""Facts of the environment that are those of a moment, or of a job."""
_MEASURED_FACTS: Final = ("threads", "cpus", "device", "device_name")
"""Of what a process says of itself, beside the subject of a comparison."""
_WORD: Final = re.compile(r"\S+\s*|\s+")
_SETTINGS: Final = ("threads", "isolation", "timeout_s", "load_timeout_s", "memory_limit_bytes", "timing")
"""Of the recorded session, that the cells run under again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstDifference:
    """Where an answer leaves the recorded one."""

    round: int
    """From 1."""
    unit: Literal["token", "word"]
    """``word`` where the model source tells no tokens: text up to and with the next white space."""
    position: int
    """From 1."""
    recorded: str
    now: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReproducedCell:
    """What became of one recorded cell."""

    cell: str
    model: str
    outcome: Outcome
    reason: str = ""
    """Why it could not be run, or why the difference cannot be shown."""
    rounds: int = 0
    """Recorded."""
    rounds_again: int = 0
    outputs: int = 0
    """Distinct recorded outputs."""
    seed: int = 0
    temperature: float = 0.0
    first_difference: FirstDifference | None = None
    subject: tuple[Difference, ...] = ()
    """What differs about the model: file hashes, revision, dtype, libraries, commit, threads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """All of it."""

    run_id: str
    cells: tuple[ReproducedCell, ...]
    environment: tuple[Difference, ...]
    """Facts of the machine, its packages and variables that are not those of the run."""

    @property
    def identical(self) -> bool:
        """Whether every cell gave what was recorded."""
        return all(cell.outcome == "identical" for cell in self.cells)


@dataclass(slots=True)
class _Recorded:
    """One cell as the log has it: what was asked, and what came in each round."""

    block: RoundsRecord
    worker: WorkerRecord | None
    prompt: Prompt
    sha256: list[str] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    """None where withheld."""
    tokens: list[list[int]] = field(default_factory=list)
    """Empty where not recorded."""

    def take(self, block: RoundsRecord) -> None:
        for place in block.output_of_round:
            withheld = bool(block.outputs_withheld and block.outputs_withheld[place])
            self.sha256.append(block.output_sha256[place])
            self.texts.append(None if withheld else block.outputs[place])
            self.tokens.append(block.output_token_ids[place] if block.output_token_ids else [])


def reproduce(
    run: Path, registry: Registry, *, clock: Clock, observer: Observer, redactor: Redactor, sys_path: Sequence[str],
    cells: Collection[str] = (), options: Mapping[str, str] | None = None,
) -> Reproduction:  # fmt: skip
    """Run recorded cells again.

    :param cells: ids; empty for all.
    :param options: ``+key=value`` pairs that every model's spec gets beside its own, to see what they change.
    :raises ConfigError: if a cell is not in the run, or none is, or the run was imported.
    :raises StoreError: if the log cannot be read.
    """
    header, recorded = _read(run)
    chosen = _choose(recorded, cells, run)
    now = environment()
    found: list[ReproducedCell] = []
    with tempfile.TemporaryDirectory(prefix="llmci-") as folder:
        records: list[LogRecord] = []
        metrics = {metric.name: metric for metric in measure.metric_defs(registry)}
        session = BenchSession(
            _settings(header), registry, metrics, clock=clock, observer=observer, emit=records.append, log_folder=Path(folder),
            sys_path=sys_path, redactor=redactor,
        )  # fmt: skip
        try:
            again = _Again(
                session, registry, then=header.environment, now=now, options=options or {}, hide=redactor.text
            )
            found += [again.cell(each) for each in chosen]
        finally:
            session.close()
    return Reproduction(run_id=header.run_id, cells=tuple(found), environment=_differences(header.environment, now))


def _read(run: Path) -> tuple[HeaderRecord, list[_Recorded]]:
    header: HeaderRecord | None = None
    workers: dict[str, WorkerRecord] = {}
    found: dict[object, _Recorded] = {}
    for record in LogReader(run / LOG_NAME, ("header", "worker", "rounds"), metrics=()):
        if isinstance(record, HeaderRecord):
            header = record
        elif isinstance(record, WorkerRecord):
            workers[record.uid] = record
        elif isinstance(record, RoundsRecord) and record.origin in ("measured", "call", "sample"):
            worker = workers.get(record.worker)
            key = (record.cell, record.prompt_sha256, record.generation, worker.spec.text if worker else "")
            if key not in found:
                found[key] = _Recorded(record, worker, _prompt(record))
            found[key].take(record)
    if header is None:
        raise ConfigError(f"{run}: its log has no header.")
    if header.settings.get("provenance") == "imported":
        raise ConfigError(
            f"run {run.name} was imported from another tool's results, which do not hold how to ask its models again: reproduce a run"
            " that was measured here."
        )
    by_model: dict[str, list[_Recorded]] = {}
    for each in found.values():
        by_model.setdefault(each.block.model, []).append(each)  # each is loaded once
    return header, [each for members in by_model.values() for each in members]


def _prompt(block: RoundsRecord) -> Prompt:
    if block.messages:
        return Prompt(id=block.prompt_id, messages=tuple(block.messages), variables=block.variables)
    return Prompt(id=block.prompt_id, text=block.prompt, variables=block.variables)


def _choose(recorded: Sequence[_Recorded], cells: Collection[str], run: Path) -> list[_Recorded]:
    known = list(dict.fromkeys(each.block.cell for each in recorded))
    for cell in cells:
        if cell not in known:
            more = f" and {len(known) - 5} more" if len(known) > 5 else ""
            raise ConfigError(f"--cell: run {run.name} has no cell '{cell}'; it has {', '.join(known[:5])}{more}.")
    if not known:
        raise ConfigError(f"run {run.name} has no measured cell: there is nothing to run again.")
    return [each for each in recorded if not cells or each.block.cell in cells]


def _settings(header: HeaderRecord) -> Settings:
    given: dict[str, Any] = {name: header.settings[name] for name in _SETTINGS if name in header.settings}
    return Settings(**given)


class _Again:
    """Runs one cell after the other."""

    def __init__(
        self, session: BenchSession, registry: Registry, *, then: Mapping[str, Json], now: Mapping[str, Json], options: Mapping[str, str],
        hide: Callable[[str], str],
    ) -> None:  # fmt: skip
        """:param then: the environment of the run; ``now`` that of today."""
        self._session = session
        self._registry = registry
        self._then, self._now = then, now
        self._options = options
        self._hide = hide

    def cell(self, recorded: _Recorded) -> ReproducedCell:
        block = recorded.block
        distinct = len(set(recorded.sha256))
        told = ReproducedCell(
            cell=block.cell, model=block.model, outcome="not reproduced", rounds=len(recorded.sha256), outputs=distinct,
            seed=block.generation.seed, temperature=block.generation.temperature,
        )  # fmt: skip
        why = self._why_not(recorded)
        if why:
            return replace(told, reason=why)
        assert recorded.worker is not None  # else there would be a reason
        spec = _with(recorded.worker.spec, self._options)
        rounds = 1 if distinct == 1 else len(recorded.sha256)
        measurement = self._measure(spec, recorded, rounds)
        subject = self._subject(recorded.worker, measurement.worker)
        if measurement.error is not None or not measurement.blocks:
            return replace(told, reason=self._why_failed(measurement.error), subject=subject)
        fresh = _Recorded(block=measurement.blocks[0], worker=measurement.worker, prompt=recorded.prompt)
        for each in measurement.blocks:
            fresh.take(each)
        told = replace(told, rounds_again=len(fresh.sha256), subject=subject)
        pairs = zip(recorded.sha256, fresh.sha256, strict=False)
        place = next((number for number, (a, b) in enumerate(pairs) if a != b), None)
        if place is None:
            return replace(told, outcome="identical")
        first = self._first_difference(spec, recorded, fresh, place)
        reason = "" if first else "the recorded text is withheld, so that the place cannot be shown"
        return replace(told, outcome="differs", first_difference=first, reason=reason)

    def _why_not(self, recorded: _Recorded) -> str:
        """Why a cell cannot be asked again; empty if it can."""
        block, worker = recorded.block, recorded.worker
        if worker is None:
            return "its model never started"
        if not recorded.sha256:
            return "no round of it was finished"
        if block.prompt_withheld:
            why = "--llmci-redact" if block.prompt_withheld == "redacted" else "a secret in it was masked"
            return f"the text of its prompt was not recorded ({why})"
        if sha256(recorded.prompt.shown.encode("utf-8", "surrogatepass")).hexdigest() != block.prompt_sha256:
            return "the recorded prompt does not have the recorded hash"
        if block.templated and not block.messages and worker.spec.options.get("template") != "on":
            return "its chat messages were not recorded (an older log)"
        hidden = [
            name for name, value in worker.spec.options.items() if "[secret" in value and name not in self._options
        ]
        if hidden:
            return f"its spec holds a secret that was not recorded; give it: --with +{hidden[0]}=VALUE"
        if worker.spec.backend not in self._registry.names("backend"):
            return f"the model source '{worker.spec.backend}' is none of ours: the project's conftest.py or a plugin of pytest registers it"
        return ""

    def _measure(self, spec: ModelSpec, recorded: _Recorded, rounds: int) -> CellMeasurement:
        generation: GenerationSettings = recorded.block.generation
        cell = Cell(id=recorded.block.cell, model=spec, prompt=recorded.prompt)
        plan = CellPlan(rounds=rounds, max_rounds=rounds, warmup=0, block=rounds, generation=generation, checks=())
        return self._session.measure(cell, plan)

    def _why_failed(self, error: ErrorInfo | None) -> str:
        return self._hide(" ".join(error.message.split())) if error else "it was not measured"

    def _subject(self, then: WorkerRecord, now: WorkerRecord | None) -> tuple[Difference, ...]:
        if now is None:
            return ()
        parts = [
            Part({**subject_part(worker, facts).facts, **{name: worker.info[name] for name in _MEASURED_FACTS if name in worker.info}})
            for worker, facts in ((then, self._then), (now, self._now))
        ]  # fmt: skip
        return parts[0].differences(parts[1])

    def _first_difference(
        self, spec: ModelSpec, recorded: _Recorded, fresh: _Recorded, place: int
    ) -> FirstDifference | None:
        before, after = recorded.texts[place], fresh.texts[place]
        if before is None or after is None:
            return None
        if recorded.tokens[place] and fresh.tokens[place]:
            found = self._first_token(spec, recorded.tokens[place], fresh.tokens[place])
            if found is not None:
                return FirstDifference(
                    round=place + 1, unit="token", position=found[0], recorded=found[1], now=found[2]
                )
        number, one, other = first_apart(_WORD.findall(before), _WORD.findall(after))
        return FirstDifference(round=place + 1, unit="word", position=number, recorded=one or END, now=other or END)

    def _first_token(self, spec: ModelSpec, before: Sequence[int], after: Sequence[int]) -> tuple[int, str, str] | None:
        """Position and both tokens as text; None where they cannot be told."""
        number, one, other = first_apart(before, after)
        ids = [token for token in (one, other) if token is not None]
        about = Prompt(id="tokens", text="the texts of two tokens", source="llmci reproduce")
        try:
            answer = self._session.ask(spec, lambda worker: worker.call(_TOKEN_TEXTS, pack_arguments((ids,))), about)
        except LLMCIError:  # the model has answered; only the words for it are missing
            return None
        if not isinstance(answer, list):
            return None
        texts = iter(map(str, answer))
        return number, END if one is None else next(texts), END if other is None else next(texts)


def first_apart(before: Sequence[T], after: Sequence[T]) -> tuple[int, T | None, T | None]:
    """The first place, from 1, at which two sequences are not the same, and what stands there; 0 if they are.

    >>> first_apart([5, 6, 7], [5, 6]), first_apart("ab", "ab")
    ((3, 7, None), (0, None, None))
    """
    for number, (one, other) in enumerate(zip_longest(before, after), start=1):
        if one != other:
            return number, one, other
    return 0, None, None


def _with(spec: ModelSpec, options: Mapping[str, str]) -> ModelSpec:
    if not options:
        return spec
    added = "".join(f"+{name}={value}" for name, value in options.items())
    return replace(spec, options={**spec.options, **options}, text=spec.text + added)


def _differences(then: Mapping[str, Json], now: Mapping[str, Json]) -> tuple[Difference, ...]:
    """Facts that are others today; those that hooks added to the run's are not known here."""
    before, after = _flat(then), _flat(now)
    known = {name: value for name, value in before.items() if name in after or "." in name}
    return Part(known).differences(Part(after))


def _flat(facts: Mapping[str, Json]) -> dict[str, Json]:
    """With the packages and variables one by one."""
    found: dict[str, Json] = {}
    for name, value in facts.items():
        if name in _PASSING:
            continue
        if isinstance(value, dict):
            found.update({f"{name}.{key}": entry for key, entry in value.items()})
        else:
            found[name] = value
    return found
