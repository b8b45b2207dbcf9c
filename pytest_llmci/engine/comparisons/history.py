"""Many runs in the order of time: one number a run, model and metric, and where it changed its level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Final

from ...errors import ConfigError, LogTamperedError, MissingExtraError, StoreError
from ...metrics import MetricDef
from ...records import Json
from ...stats.change_points import LEAST_POINTS, LEAST_SEGMENT, ChangePoint, find_change_points
from ...store.comparability import Part
from ...store.runfolder import list_runs, resolve_run
from ...text import how_many
from .compare_runs import check_metrics
from .run_differences import elsewhere, machine_differences
from .stored_run import StoredCell, StoredModel, StoredRun, read_run

DEFAULT_METRICS: Final = ("latency",)
FOUND: Final = {
    "revision": "revision", "manifest_sha256": "weights", "file_sha256": "weights", "quantization": "quantization", "dtype": "dtype",
    "architecture": "architecture", "parameters": "parameters", "chat_template_sha256": "chat template", "served_model": "served model",
}  # fmt: skip
"""What a model turned out to be -> its name in a table. It may change while the same model is asked for; what libraries, code and servers
do is what a history shows, and is not told in it."""
_WEIGHTS: Final = ("manifest_sha256", "file_sha256")
_WHERE_IT_RUNS: Final = "python"
"""An option of a spec that makes no other model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One run of one model in one metric."""

    run: StoredRun
    value: float | None
    """Median over all rounds, SI; None where it is missing."""
    rounds: int
    alike: bool
    """Whether machine, prompts and settings are those of the newest run: only such points make one series."""
    reason: str = ""
    """Why there is no value, or why it is not alike."""
    changed: tuple[str, ...] = ()
    """What of the model is other than in the point before that is alike: ``dtype: none -> bfloat16``, ``weights``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One model in one metric over all runs that have it."""

    model: str
    metric: MetricDef
    points: tuple[Point, ...]
    """Oldest first."""
    changes: tuple[tuple[Point, ChangePoint], ...]
    """The run with which a level began, and how it differs from the one before."""
    note: str = ""
    """Why no change points were looked for; empty if they were."""

    def is_worse(self, change: ChangePoint) -> bool:
        """Whether the new level is one for the worse."""
        return (change.change > 0) == (self.metric.direction != "higher")


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What :func:`read_history` found."""

    runs: tuple[StoredRun, ...]
    """Oldest first."""
    series: tuple[Series, ...]
    skipped: tuple[str, ...] = ()
    """Runs whose log cannot be read, and why."""


def choose_runs(texts: Sequence[str], output: Path) -> list[Path]:
    """The run folders that a person means; all in the output folder where none is named.

    :raises ConfigError: if one does not exist, or there is none.
    """
    if texts:
        return list(dict.fromkeys(resolve_run(text, output) for text in texts))
    found = list_runs(output)
    if not found:
        raise ConfigError(
            f"no runs in '{output}': give another folder with --output DIR, or make one with pytest --llmci."
        )
    return found


def read_history(
    folders: Sequence[Path], metrics: Sequence[str] = DEFAULT_METRICS, models: Sequence[str] = ()
) -> History:
    """The medians of many runs and their change points.

    A run whose log is damaged is skipped and named: one bad night must not hide the others.

    :param models: globs of aliases; empty for all.
    :raises ConfigError: if a metric cannot be judged, no run can be read or no model is called so.
    """
    runs, skipped = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder, metrics))
        except (StoreError, LogTamperedError) as error:
            skipped.append(str(error))
    if not runs:
        raise ConfigError(f"history: no run can be read: {'; '.join(skipped)}")
    runs.sort(key=lambda run: run.started)
    check_metrics(metrics, {name: metric for run in runs for name, metric in run.metrics.items()}, "history")
    known = dict.fromkeys(alias for run in runs for alias, _ in run.cells)
    aliases = [alias for alias in known if not models or any(fnmatchcase(alias, glob) for glob in models)]
    if not aliases:
        raise ConfigError(f"history: no model '{', '.join(models)}'. Known: {', '.join(known) or 'none'}.")
    return History(
        runs=tuple(runs),
        series=tuple(_series(runs, alias, name) for alias in aliases for name in metrics),
        skipped=tuple(skipped),
    )


def _series(runs: Sequence[StoredRun], alias: str, metric: str) -> Series:
    having = [run for run in runs if any(model == alias for model, _ in run.cells)]
    newest = having[-1]
    points = _marked([_point(run, newest, alias, metric) for run in having], alias)
    usable = [point for point in points if point.alike and point.value]
    definition = next(run.metrics[metric] for run in reversed(runs) if metric in run.metrics)
    changes: list[ChangePoint] = []
    note = ""
    if len(usable) < LEAST_POINTS:
        note = f"{how_many(len(usable), 'comparable run')}: change points need {LEAST_POINTS}, {LEAST_SEGMENT} of them at the new level"
    else:
        try:
            changes = find_change_points([point.value or 0.0 for point in usable])
        except MissingExtraError as error:
            note = str(error)
    found = tuple((usable[change.index], change) for change in changes)
    return Series(model=alias, metric=definition, points=points, changes=found, note=note)


def _point(run: StoredRun, newest: StoredRun, alias: str, metric: str) -> Point:
    cells = list(_cells(run, alias))
    values = [value for cell in cells for value in cell.numbers.get(metric, ())]
    why = ""
    if run is not newest:
        why = _unlike(run, newest, alias)
    missing = "" if values else next((cell.reasons[metric] for cell in cells if metric in cell.reasons), "not measured")
    return Point(
        run=run, value=median(values) if values else None, rounds=len(values), alike=not why, reason=missing or why
    )


def _unlike(run: StoredRun, newest: StoredRun, alias: str) -> str:
    one, other = run.models.get(alias), newest.models.get(alias)
    if differences := machine_differences(one, other):
        return elsewhere(differences[:1])
    return "" if _question(run, alias) == _question(newest, alias) else "other prompts or settings"


def _model_differences(one: StoredModel | None, other: StoredModel | None) -> list[str]:
    """How two specs of one alias ask for other models: ``dtype: none -> bfloat16``."""
    if one is None or other is None:
        return []
    asked = [
        {"model": _named(each), "revision": each.spec.revision or None, **each.spec.options} for each in (one, other)
    ]
    if any(weights is not None and weights == other.subject.facts.get(name) for name, weights in _weights(one)):
        asked = [{name: value for name, value in each.items() if name not in ("model", "revision")} for each in asked]
    before, after = (Part({name: value for name, value in each.items() if name != _WHERE_IT_RUNS}) for each in asked)
    return list(map(str, before.differences(after)))


def _named(model: StoredModel) -> str:
    """What a spec names, in short; behind a server that is the name there, as an address is a place."""
    spec = model.spec
    if "server" in model.subject.facts:
        return str(model.subject.facts.get("model_name") or spec.target.partition("#")[2])
    return f"{spec.backend}:{spec.target}"


def _weights(model: StoredModel) -> list[tuple[str, Json]]:
    return [(name, model.subject.facts.get(name)) for name in _WEIGHTS]


def _marked(points: Sequence[Point], alias: str) -> tuple[Point, ...]:
    """The points, each with what of the model is other than in the one before it in the series."""
    marked: list[Point] = []
    last: StoredModel | None = None
    known: dict[str, Json] = {}
    for point in points:
        model = point.run.models.get(alias)
        if not point.alike or model is None:
            marked.append(point)
            continue
        facts = model.subject.facts
        asked = _model_differences(last, model)
        told = {text.partition(":")[0] for text in asked}
        found = [
            label for name, label in FOUND.items() if label not in told and _is_other(known.get(name), facts.get(name))
        ]
        marked.append(replace(point, changed=tuple(dict.fromkeys([*asked, *found]))))
        last, known = model, {**known, **{name: fact for name, fact in facts.items() if fact is not None}}
    return tuple(marked)


def _is_other(before: Json, now: Json) -> bool:
    return before is not None and now is not None and before != now


def _question(run: StoredRun, alias: str) -> str:
    """A short name for all that was asked of a model."""
    asked = sorted((cell.prompt_id, cell.protocol.digest) for cell in _cells(run, alias) if cell.protocol is not None)
    return sha256(repr(asked).encode()).hexdigest()


def _cells(run: StoredRun, alias: str) -> Iterator[StoredCell]:
    return (cell for (model, _), cells in run.cells.items() if model == alias for cell in cells if cell.rounds)
