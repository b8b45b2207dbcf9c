"""Two ``metrics.json`` compared by tolerances: what ``dvc metrics diff`` shows, with a verdict.

Each side is one number a metric, so that noise is not known; two runs are compared with it by ``engine/comparisons/compare_runs.py``.
"""

from __future__ import annotations

import difflib
import json
import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ...errors import ConfigError
from ...metrics import Direction, MetricDef
from ...store.log import LOG_NAME, read_log
from ...store.runfolder import resolve_run
from ...text import wrapped
from ...units import format_quantity, parse_quantity
from .explain_comparison import SHORTEST_NAME, aligned, fitted

METRICS_NAME: Final = "metrics.json"
IN_GIT: Final = "llmci-dvc/metrics.json"
"""What ``git:REV`` means where no file is named."""
COUNTS: Final[Mapping[str, Direction]] = {
    "cells": "higher", "valid_cells": "higher", "failed_cells": "lower", "inconclusive_cells": "lower",
}  # fmt: skip
_ALMOST: Final = 1e-9  # of a tolerance: 1.05 is not more than 5 % above 1
_GIT_S: Final = 30
_ALL: Final = "*"

ChangeVerdict: TypeAlias = Literal["worse", "lost", "better", "within", "new", "not judged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One set of numbers."""

    name: str
    """Where it is from, for people."""
    numbers: Mapping[str, float]
    """``model.metric`` -> SI."""
    metrics: Mapping[str, MetricDef] = field(default_factory=dict)
    """Definitions that came with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How much worse a metric may become."""

    text: str
    """As written."""
    pattern: str
    """Glob of ``metric`` or ``model.metric``; ``*``: every metric of which one direction is better."""
    share: float | None
    """Relative to the old number; None where ``size`` says it."""
    size: str = ""
    """As written, in the unit of the metric."""

    def covers(self, path: str, metric: str, direction: Direction) -> bool:
        """Whether a metric is meant."""
        if self.pattern == _ALL:
            return direction != "none"
        return fnmatchcase(path, self.pattern) or fnmatchcase(metric, self.pattern)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricChange:
    """One number on both sides."""

    path: str
    """``model.metric``."""
    metric: str
    old: float | None
    new: float | None
    direction: Direction
    tolerance: str
    """As written; empty where it is not judged."""
    verdict: ChangeVerdict
    definition: MetricDef | None = None

    @property
    def change(self) -> float | None:
        """New less old, SI; None where one of them is missing."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def share(self) -> float | None:
        """The change relative to the old number; None where that is zero or missing."""
        return None if self.change is None or not self.old else self.change / abs(self.old)


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsComparison:
    """All of them."""

    old: str
    new: str
    changes: tuple[MetricChange, ...]
    undecided: bool = False

    def count(self, verdict: ChangeVerdict) -> int:
        """Metrics of that verdict."""
        return sum(change.verdict == verdict for change in self.changes)

    @property
    def failed(self) -> bool:
        """True if a metric is worse by more than its tolerance, or lost."""
        return any(change.verdict in ("worse", "lost") for change in self.changes)


def parse_tolerance(text: str) -> Tolerance:
    """``latency=5%``, ``peak_rss=20MB``, ``a.latency=1ms``, or ``5%`` for every metric.

    :raises ConfigError: if it is none of these.
    """
    pattern, named, size = text.rpartition("=")
    pattern, size = pattern.strip(), size.strip()
    if bool(named) == bool(pattern) and size:
        if not size.endswith("%"):
            if named and math.isfinite(_leading(size)) and _leading(size) >= 0:
                return Tolerance(text=text, pattern=pattern, share=None, size=size)
        elif math.isfinite(share := _leading(size[:-1]) / 100) and share >= 0:
            return Tolerance(text=text, pattern=pattern or _ALL, share=share)
    raise ConfigError(
        f"--tolerance: '{text}' is none; write metric=5%, metric=20MB in the unit of the metric, or 5% for all metrics."
    )


def _leading(text: str) -> float:
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZµ$/ ")
    try:
        return float(number)
    except ValueError:
        return math.nan


# --------------------------------------------------------------------------------------------------------------- reading


def read_side(text: str, output: Path) -> Side:
    """What a person means: a JSON file, a folder or a run that has ``metrics.json``, or ``git:REV[:FILE]``.

    :raises ConfigError: if there is none, or it holds no numbers.
    """
    if text.startswith("git:"):
        return _side(text, _from_git(text))
    path = Path(text)
    if path.is_dir() and (path / METRICS_NAME).is_file():
        path = path / METRICS_NAME
    elif not path.is_file() or path.name == LOG_NAME:
        path = resolve_run(text, output) / METRICS_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"compare --metrics: {path} is missing; llmci report {path.parent} writes it.") from None
    except OSError as error:
        raise ConfigError(f"compare --metrics: {path} cannot be read: {error.strerror or error}.") from error
    return _side(str(path), content, _definitions(path.with_name(LOG_NAME)))


def _from_git(text: str) -> bytes:
    revision, _, name = text.removeprefix("git:").partition(":")
    name = name or IN_GIT
    if not revision or revision.startswith("-"):
        raise ConfigError(f"compare --metrics: '{text}' names no commit; write git:REV or git:REV:FILE.")
    try:
        done = subprocess.run(
            ["git", "show", f"{revision}:./{name}"],  # noqa: S607  # the user's git
            stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_GIT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"compare --metrics: {text}: git cannot be asked: {error}.") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ConfigError(
            f"compare --metrics: {text}: git has no {name} there: {said[-1] if said else 'no reason given'}."
        )
    return done.stdout


def _side(name: str, content: bytes, metrics: Mapping[str, MetricDef] | None = None) -> Side:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise ConfigError(f"compare --metrics: {name} is no JSON: {error}.") from None
    numbers = dict(_numbers(data, ""))
    if not numbers:
        raise ConfigError(
            f"compare --metrics: {name} holds no numbers; it should map models to metrics, as metrics.json does."
        )
    return Side(name=name, numbers=numbers, metrics=metrics or {})


def _numbers(data: Any, above: str) -> Iterator[tuple[str, float]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _numbers(value, f"{above}.{key}" if above else str(key))
    elif isinstance(data, (int, float)) and not isinstance(data, bool) and math.isfinite(data) and above:
        yield above, data


def _definitions(log: Path) -> dict[str, MetricDef]:
    if not log.is_file():
        return {}
    header = next(read_log(log, ("header",)), None)
    return {metric.name: metric for metric in getattr(header, "metrics", ())}


# -------------------------------------------------------------------------------------------------------------- judging


def compare_metrics(
    old: Side, new: Side, tolerances: Sequence[Tolerance] = (), only: Sequence[str] = ()
) -> MetricsComparison:
    """Judge every number of two sides.

    :param tolerances: the last one that covers a metric holds; a metric without one is not judged, but must not be lost.
    :param only: names of metrics, or ``model.metric``; empty for all.
    :raises ConfigError: if a tolerance or a name is of no metric, or not of its unit.
    """
    from ...measure import builtin_metrics

    defs = {**{metric.name: metric for metric in builtin_metrics()}, **old.metrics, **new.metrics}
    paths = list(dict.fromkeys([*old.numbers, *new.numbers]))
    for name in only:
        _require(name, "--metric", paths)
    for tolerance in tolerances:
        if tolerance.pattern != _ALL:
            _require(tolerance.pattern, "--tolerance", paths)
    wanted = [path for path in paths if not only or path in only or _metric(path) in only]
    return MetricsComparison(
        old=old.name, new=new.name, changes=tuple(_change(path, old, new, tolerances, defs) for path in wanted)
    )


def _require(name: str, option: str, paths: Sequence[str]) -> None:
    names = sorted({*paths, *map(_metric, paths)})
    if not any(fnmatchcase(each, name) for each in names):
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        known = ", ".join(sorted(set(map(_metric, paths))))
        raise ConfigError(f"{option}: neither side has a metric '{name}'.{hint} Known: {known}.")


def _metric(path: str) -> str:
    return path.rpartition(".")[2]


def _change(
    path: str, old: Side, new: Side, tolerances: Sequence[Tolerance], defs: Mapping[str, MetricDef]
) -> MetricChange:
    metric = _metric(path)
    definition = defs.get(metric)
    direction: Direction = definition.direction if definition else COUNTS.get(metric, "none")
    before, now = old.numbers.get(path), new.numbers.get(path)
    covering = [tolerance for tolerance in tolerances if tolerance.covers(path, metric, direction)]
    tolerance = covering[-1] if covering else None
    verdict: ChangeVerdict
    if now is None or before is None:
        verdict = "lost" if now is None else "new"
    elif tolerance is None:
        verdict = "not judged"
    else:
        verdict = _verdict(now - before, _allowed(tolerance, before, definition), direction)
    return MetricChange(
        path=path, metric=metric, old=before, new=now, direction=direction, verdict=verdict, definition=definition,
        tolerance=tolerance.text.rpartition("=")[2].strip() if tolerance else "",
    )  # fmt: skip


def _allowed(tolerance: Tolerance, before: float, definition: MetricDef | None) -> float:
    if tolerance.share is not None:
        return tolerance.share * abs(before)
    return parse_quantity(tolerance.size, definition.unit if definition else "1", f"--tolerance={tolerance.text}")


def _verdict(change: float, allowed: float, direction: Direction) -> ChangeVerdict:
    """Where no direction is better, neither may be left by more than is allowed."""
    harm = {"lower": change, "higher": -change, "none": abs(change)}[direction]
    if harm > allowed * (1 + _ALMOST):
        return "worse"
    return "better" if harm < -allowed * (1 + _ALMOST) else "within"


# --------------------------------------------------------------------------------------------------------------- telling

_ORDER: Final[tuple[ChangeVerdict, ...]] = ("worse", "lost", "better", "within", "new", "not judged")


def text_lines(found: MetricsComparison, *, most: int = 20, columns: int = 1_000) -> Iterator[str]:
    """A table of what was judged, worst first, and a line of counts; of what was not, where nothing was.

    :param columns: that lines may fill, if they can.
    """
    for label, side in (("old", found.old), ("new", found.new)):
        yield from wrapped(side, columns, first=f"{label}  ", rest=" " * 5)
    judged = [change for change in found.changes if change.verdict != "not judged"]
    rows = sorted(judged or found.changes, key=lambda change: _ORDER.index(change.verdict))
    yield ""
    yield from aligned(
        fitted([_HEADINGS, *(_row(change) for change in rows[:most])], columns, _SPARE, least=SHORTEST_NAME), left=1
    )
    if len(rows) > most:
        yield f"and {len(rows) - most} more (--rows)"
    yield ""
    counts = [f"{found.count(verdict)} {verdict}" for verdict in _ORDER if found.count(verdict)]
    yield from wrapped(f"{len(found.changes)} metrics: {', '.join(counts)}", columns, rest="  ")
    if not any(change.tolerance for change in found.changes):
        yield from wrapped(
            "nothing but lost metrics fails without a tolerance: --tolerance latency=5%", columns, rest="  "
        )


_HEADINGS: Final = ("metric", "old", "new", "change", "tolerance", "verdict")
_SPARE: Final = (4, 1)
"""Columns of the table, in the order in which a narrow terminal does without them."""


def _row(change: MetricChange) -> tuple[str, ...]:
    share, size = change.share, change.change
    relative = f"{share:+.1%}".replace("%", " %") if share is not None else ""
    moved = relative or ("" if size is None else f"{'+' if size > 0 else ''}{_shown(change, size)}")
    verdict = change.verdict.upper() if change.verdict in ("worse", "lost") else change.verdict
    return (change.path, _shown(change, change.old), _shown(change, change.new), moved, change.tolerance, verdict)


def _shown(change: MetricChange, value: float | None) -> str:
    if value is None:
        return "n/a"
    return format_quantity(value, change.definition.unit) if change.definition else f"{value:.6g}"


def json_data(found: MetricsComparison) -> dict[str, Any]:
    """All of it as plain data, SI."""
    return {
        "old": found.old,
        "new": found.new,
        "failed": found.failed,
        "metrics": [
            {
                "path": change.path, "metric": change.metric, "old": change.old, "new": change.new, "change": change.change,
                "share": change.share, "direction": change.direction, "tolerance": change.tolerance or None, "verdict": change.verdict,
            }
            for change in found.changes
        ],
    }  # fmt: skip
