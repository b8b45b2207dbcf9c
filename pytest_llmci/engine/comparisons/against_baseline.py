"""A session's model against the numbers of a saved baseline, by the engine that compares stored runs."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ...errors import ConfigError
from ...measure.memory import GROWTH
from ...measure.starts import START_TIMES
from ...metrics import MetricDef
from ...records import Comparability, ComparisonResult, HeaderRecord, Json, LogRecord
from ...stats.looks import SESSION_ALPHA
from ...store.baseline_folder import Chosen
from ...store.baseline_record import BaselineCell, BaselineRecord, BaselineSession
from ...store.comparability import Part
from ..schedule import StoredSide
from .cell_samples import MemoryPass
from .compare_runs import compare_stored
from .comparison import Accept
from .runs_comparison import WHOLE_CELL
from .slowdown import is_explained
from .stored_run import Gathering, StoredCell, StoredModel, StoredRun

THIS_RUN: Final = "this run"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredBaseline:
    """A baseline that the session's models are compared with by its stored numbers."""

    name: str
    chosen: Chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class AgainstBaselines:
    """What came of it for one model."""

    cells: dict[str, list[ComparisonResult]] = field(default_factory=dict)
    """Cell id -> results."""
    model: list[ComparisonResult] = field(default_factory=list)
    """Of the model as a whole."""
    slower_than: dict[str, StoredSide] = field(default_factory=dict)
    """Cell id -> the stored samples that a regression of its times was found against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineRules:
    """What all models and baselines of a session share."""

    baselines: Sequence[StoredBaseline]
    memory_of: Sequence[StoredBaseline] = ()
    """Baselines that are measured again: of these only memory passes are compared as they are stored, as the reference has none."""
    cells: int
    """Of the session, in any of the baselines: they share its false alarms."""
    detect: Mapping[str, float]
    accepted: Accept
    environment: Callable[[], dict[str, Json]]


def against_baselines(
    records: Iterable[LogRecord],
    rules: BaselineRules,
    metrics: Mapping[str, MetricDef],
    *,
    started: str,
    apart: Collection[str] = (),
) -> AgainstBaselines:
    """Compare what was measured of a model with each baseline.

    :param records: starts of processes and blocks of this model.
    :param started: UTC, ISO 8601: when the session began.
    :param apart: ids of cells that do not count for the model as a whole.
    """
    candidate = _this_run(records, metrics, rules, started)
    result = AgainstBaselines()
    cells = result.cells
    for baseline in rules.baselines:
        older = [
            run_of_session(baseline.chosen.record, session, baseline.name, only=candidate)
            for session in baseline.chosen.record.sessions
        ]
        having = [run for run in older if run.cells]
        if not having and not any(run.models for run in older):
            for cell in (cell for same in candidate.cells.values() for cell in same):
                cells.setdefault(cell.id, []).append(
                    _alone("new", f"{baseline.name} has no model {cell.model}", baseline.name)
                )
            continue
        share = SESSION_ALPHA / len(rules.baselines)
        try:
            found = compare_stored(
                having or older, candidate, detect=rules.detect, accepted=rules.accepted, alpha=share,
                family=rules.cells, name=baseline.name, apart=apart,
            )  # fmt: skip
        except ConfigError as error:
            for cell in (cell for same in candidate.cells.values() for cell in same):
                cells.setdefault(cell.id, []).append(_alone("not comparable", str(error), baseline.name))
            continue
        for compared in found.cells:
            cells.setdefault(compared.id, []).extend(compared.results)
            stored = found.base[-1].cells.get((compared.model, compared.prompt_id), ())
            if stored and is_explained(compared.results):
                result.slower_than.setdefault(compared.id, StoredSide(against=baseline.name, samples=stored[0].samples))
        result.model.extend(whole for _, whole in found.models)
    for baseline in rules.memory_of:
        for cell_id, grown in _memory_passes(baseline, candidate, rules):
            cells.setdefault(cell_id, []).append(grown)
    return result


def _memory_passes(
    baseline: StoredBaseline, candidate: StoredRun, rules: BaselineRules
) -> Iterator[tuple[str, ComparisonResult]]:
    """Cell id and result of those that both sides have."""
    record = baseline.chosen.record
    base = run_of_session(record, record.newest, baseline.name, only=candidate)
    try:
        found = compare_stored(
            [base], candidate, detect=rules.detect, only=(GROWTH,), accepted=rules.accepted, name=baseline.name
        )
    except ConfigError:
        return  # what was asked differs, which the alternating comparison has told
    for compared in found.cells:
        yield from ((compared.id, result) for result in compared.results if result.metric == GROWTH)


def _this_run(
    records: Iterable[LogRecord], metrics: Mapping[str, MetricDef], rules: BaselineRules, started: str
) -> StoredRun:
    gathering = Gathering(frozenset(rules.detect))
    header = HeaderRecord(
        schema_version=0, run_id=THIS_RUN, started=started, version="", command=[], settings={}, environment=rules.environment(),
        metrics=list(metrics.values()),
    )  # fmt: skip
    gathering.take(header)
    for record in records:
        gathering.take(record)
    return gathering.run(Path(), header)


def _alone(verdict: Comparability, reason: str, name: str) -> ComparisonResult:
    return ComparisonResult(
        metric=WHOLE_CELL,
        mode="saved",
        verdict=verdict,
        against=name,
        base=None,
        candidate=None,
        change=None,
        reason=reason,
    )


def run_of_session(record: BaselineRecord, session: BaselineSession, name: str, *, only: StoredRun) -> StoredRun:
    """One session of a baseline as a finished run, with those cells that the other side has."""
    cells: dict[tuple[str, str], tuple[StoredCell, ...]] = {}
    for cell in session.cells:
        key = cell.model, record.prompts[cell.prompt].id
        if key in only.cells:
            cells[key] = (*cells.get(key, ()), _stored_cell(record, cell, key[1]))
    return StoredRun(
        folder=Path(), run_id=name, started=session.saved, metrics={metric.name: metric for metric in record.metrics},
        environment={},
        models={
            model.alias: StoredModel(
                spec=model.spec, subject=Part(model.subject), environment=Part(record.environment),
                on_cpu=not str(model.spec.options.get("device", "cpu")).startswith(("cuda", "mps")),
                starts={name: tuple(record.worker_values(model.alias, name, session)) for name in START_TIMES},
            )
            for model in session.models if model.alias in only.models
        },
        cells=cells,
    )  # fmt: skip


def _memory_pass(cell: BaselineCell) -> MemoryPass:
    stored = cell.memory_pass
    if stored is None:
        return MemoryPass()
    return MemoryPass(growth=tuple(stored.samples.get(GROWTH, ())), methods=frozenset(stored.method.split("+")) - {""})


def _stored_cell(record: BaselineRecord, cell: BaselineCell, prompt_id: str) -> StoredCell:
    numbers = {name: array("d", record.values(cell, name)) for name in cell.samples}
    rounds = max(map(len, numbers.values()), default=0)
    method = cell.protocol.get("memory_method")
    return StoredCell(
        id=cell.id, model=cell.model, prompt_id=prompt_id, test=cell.test, rounds=rounds,
        numbers={name: column for name, column in numbers.items() if len(column) == rounds},
        reasons={name: "a round of the baseline lacks it" for name, column in numbers.items() if len(column) != rounds},
        outputs=tuple(cell.outputs), answers=cell.rounds, checks=cell.checks, protocol=Part(cell.protocol),
        memory_methods=frozenset(str(method).split("+")) - {""} if method else frozenset(), contended=False, error="",
        anchor=str(cell.protocol.get("anchor") or ""), memory_pass=_memory_pass(cell),
    )  # fmt: skip
