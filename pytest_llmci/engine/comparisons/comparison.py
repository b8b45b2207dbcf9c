"""Two sides of one model against each other: which metrics are gated, by which rule, and what comes of it.

The unit is a model with its selected cells, as they share one family of tests. Where both sides ran, and when, is not
known here: the interleaved schedule, a baseline and ``llmci compare`` hand in the same :class:`CellSamples`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Final, Literal, cast

from ...measure.memory import GROWTH
from ...measure.starts import START_TIMES
from ...metrics import BESIDE, MetricDef
from ...records import ComparisonResult
from ...stats.compare import PROCESS_TIME_SD_S, GateSettings, decide
from .cell_samples import CellSamples, Sides
from .exact import LENGTH, PEAK, compare_counted, compare_length, compare_peaks
from .rules import DETECT, Rules, result_of, without_numbers

if TYPE_CHECKING:
    from ...stats.compare import Effect
    from ...stats.compare import Mode as TimeMode
    from ...stats.samples import Rows
    from ...stats.stored import TimeMetric

LEAST_CPU_SHARE: Final = 0.2
"""CPU time that is a smaller part of the net time than this tells nothing of an answer's speed, and varies by more than it."""
AS_MEASURED: Final = "as measured, not beside the frozen model"
LEAST_ANCHORED_SHARE: Final = 0.8
"""CPU time that is a smaller part of the net time than this: what the model waits for is not what slows a frozen model down."""
_TIMES: Final[dict[str, TimeMetric]] = {"cpu_time": "cpu", "net_time": "net"}
"""Metrics of the model's own process; every other time is one of the wall clock."""


Accept = Callable[[str, ComparisonResult], str]
"""Cell id (alias for a whole model) and regression -> why it was accepted beforehand; empty if it was not."""


def accepted_or_not(name: str, result: ComparisonResult, accepted: Accept) -> ComparisonResult:
    """The result, with the reason where it is a regression that is meant."""
    if result.verdict != "regressed":
        return result
    return replace(result, accepted=accepted(name, result))


@dataclass(slots=True)
class ModelComparison:
    """What one look found."""

    cells: dict[str, list[ComparisonResult]] = field(default_factory=dict)
    model: list[ComparisonResult] = field(default_factory=list)
    """Of the model as a whole."""
    undecided: set[str] = field(default_factory=set)
    """Cells that more rounds may settle."""
    tests: int = 0
    """Gated times, those of starts included: they share alpha."""

    @property
    def regressed(self) -> bool:
        """Whether a cell or the model as a whole has."""
        found = [*self.model, *(result for results in self.cells.values() for result in results)]
        return any(result.verdict == "regressed" for result in found)


def compare_model(
    cells: Mapping[str, Sides], rules: Rules, metrics: Mapping[str, MetricDef], *, look: int = 0, last: bool = True,
    stands: Mapping[str, Sequence[ComparisonResult]] | None = None, apart: Collection[str] = (),
) -> ModelComparison:  # fmt: skip
    """Judge every gated metric of a model's cells at one look.

    :param cells: cell id -> its samples on both sides.
    :param look: which of ``rules.looks`` this is, from 0.
    :param last: whether no further rounds can come.
    :param stands: results of cells that were decided at an earlier look.
    :param apart: cells that are judged alone and do not count for the model as a whole.
    """
    found = ModelComparison(cells={cell: [] for cell in cells})
    lengths = {cell: compare_length(sides, rules) for cell, sides in cells.items()}
    for cell, result in lengths.items():
        if result is not None:
            found.cells[cell].append(result)
    times = gated_times(cells.values(), rules)
    found.tests = len(times) + len(gated_starts(rules))
    for name in times:
        _judge_time(
            found,
            cells,
            rules,
            lengths=lengths,
            metric=metrics[name],
            metrics=found.tests,
            look=look,
            last=last,
            apart=apart,
        )
    for cell, sides in cells.items():
        found.cells[cell] += [*compare_peaks(sides, rules), *compare_counted(sides, rules)]
    for cell, results in (stands or {}).items():
        found.cells[cell] = list(results)
        found.undecided.discard(cell)
    return found


def gated_times(cells: Iterable[Sides], rules: Rules) -> tuple[str, ...]:
    """The times that decide: what the model's process owned, where it computes on this machine; else the wall clock.

    CPU time is blind to sleeps, locks and devices, net time to the work of other threads, so both are gated where there are both.
    """
    if rules.only:
        return tuple(name for name in rules.only if name not in (*START_TIMES, *rules.counted))
    sides = [one for cell in cells for one in (cell.base, cell.candidate)]
    asked = [name for name in rules.detect if name and name not in (PEAK, GROWTH, LENGTH, *rules.counted, *START_TIMES)]
    own = [name for name in _TIMES if all(name in one.values for one in sides)] if rules.on_cpu and sides else []
    if "cpu_time" in own and max(map(_cpu_share, sides)) < LEAST_CPU_SHARE:
        own.remove("cpu_time")
    return tuple(dict.fromkeys([*(own or ["latency"]), *asked]))


def gated_starts(rules: Rules) -> tuple[str, ...]:
    """The times of starts that decide."""
    asked = rules.only or rules.detect
    return tuple(name for name in START_TIMES if name in asked)


def _cpu_share(side: CellSamples) -> float:
    whole = sum(side.values.get("net_time") or side.values.get("latency") or ())
    return sum(side.values["cpu_time"]) / whole if whole > 0 else 0.0


def _judge_time(
    found: ModelComparison, cells: Mapping[str, Sides], rules: Rules, *, lengths: Mapping[str, ComparisonResult | None],
    metric: MetricDef, metrics: int, look: int, last: bool, apart: Collection[str],
) -> None:  # fmt: skip
    detect = rules.detect.get(metric.name, rules.detect.get("", DETECT))
    can: dict[str, Sides] = {}
    for cell, sides in cells.items():
        why = _why_not(sides, metric, lengths[cell], rules)
        if why is None:
            can[cell] = sides
        else:
            verdict, reason = why
            found.cells[cell].append(
                without_numbers(sides, metric.name, rules, verdict=verdict, reason=reason, detect=detect)
            )
    kind = _TIMES.get(metric.name, "wall")
    rules, beside, why_as_it_is = _beside(can.values(), metric.name, rules)
    for cells_of_one in _families(can, apart):
        settings = GateSettings(
            mode=cast("TimeMode", rules.mode), detect=detect, alpha=rules.alpha / metrics * (len(cells_of_one) / len(can)), look=look,
            looks=rules.looks, last=last, higher_is_better=metric.direction == "higher", metric=kind,
            environment_shift=(rules.anchored_shifts if beside else rules.shifts).get(kind, rules.environment_shift),
            session=0.0 if rules.each_a_session else None, unit="block" if rules.by_block else "round",
            value_sd=PROCESS_TIME_SD_S if metric.unit == "s" and not beside else 0.0,
        )  # fmt: skip
        verdicts = decide(
            _base_rows(list(cells_of_one.values()), metric.name, rules, beside),
            [_row(sides.candidate, metric.name, beside) for sides in cells_of_one.values()],
            settings,
            pairs=[sides.candidate.pairs for sides in cells_of_one.values()],
            names=list(cells_of_one),
        )
        for (cell, sides), effect in zip(cells_of_one.items(), verdicts.cells, strict=True):
            found.cells[cell].append(
                _told_beside(_result(effect, sides, metric.name, rules, detect), sides, beside, why_as_it_is)
            )
            if effect.undecided:
                found.undecided.add(cell)
        if len(cells_of_one) > 1:
            found.model.append(_result(verdicts.models[0], None, metric.name, rules, detect))


def _families(cells: Mapping[str, Sides], apart: Collection[str]) -> Iterator[Mapping[str, Sides]]:
    """The cells that are judged together, then each of those that are judged alone."""
    together = {cell: sides for cell, sides in cells.items() if cell not in apart}
    if together:
        yield together
    for cell, sides in cells.items():
        if cell in apart:
            yield {cell: sides}


def why_not_anchored(cells: Iterable[Sides], metric: str) -> str | None:
    """Why a time is not divided by that of a frozen model beside it; empty where it is, None where nobody timed one.

    :param metric: one that a frozen model has as well.
    """
    sides = list(cells)
    names = [{each.base.anchor for each in sides}, {each.candidate.anchor for each in sides}]
    if all(side <= {""} for side in names):
        return None
    beside = BESIDE[metric]
    for side, whose in zip(names, ("reference", "candidate"), strict=True):
        if "" in side:
            return f"the {whose} has none of its times"
    if len(before := names[0]) > 1 or before != names[1]:
        told = [" and ".join(sorted(side)) for side in names]
        return f"it is not the same on both sides ({told[0]} -> {told[1]})"
    if any(
        beside not in one.values or min(one.values[beside]) <= 0
        for each in sides
        for one in (each.base, each.candidate)
    ):
        return "a round lacks its time"
    if min(_cpu_share(one) for each in sides for one in (each.base, each.candidate)) < LEAST_ANCHORED_SHARE:
        return "the model spends much of its time waiting, which a frozen model does not"
    return ""


def _beside(cells: Iterable[Sides], metric: str, rules: Rules) -> tuple[Rules, str, str]:
    """The rules of one time, the metric that it is divided by, and why by none although one side has a frozen model."""
    if rules.mode not in ("saved", "history") or metric not in BESIDE:
        return rules, "", ""
    why = why_not_anchored(cells, metric)
    if why == "" and rules.mode == "history":
        why = "what several sessions differ by is known from themselves"
    if why == "":
        return replace(rules, mode="anchored"), BESIDE[metric], ""
    return rules, "", f"{AS_MEASURED}: {why}" if why else ""


def _row(side: CellSamples, metric: str, beside: str) -> list[float]:
    """The numbers that are compared."""
    values = side.values[metric]
    return [value / by for value, by in zip(values, side.values[beside], strict=True)] if beside else values


def _told_beside(result: ComparisonResult, sides: Sides, beside: str, why_as_it_is: str) -> ComparisonResult:
    """What was measured of both, where the change is one of the ratio; or why it is not."""
    if result.reason:
        return result
    if not beside or not result.base or result.candidate is None:
        return replace(result, reason=why_as_it_is)
    before, after = (median(side.values[beside]) for side in (sides.base, sides.candidate))
    own, frozen = result.candidate / result.base - 1, after / before - 1
    return replace(result, reason=f"measured {_percent(own)}, the frozen model beside it {_percent(frozen)}")


def _percent(change: float) -> str:
    return f"{100 * change:+.1f} %"


def _base_rows(cells: Sequence[Sides], metric: str, rules: Rules, beside: str) -> Rows | list[Rows]:
    """``[cells, rounds]``, or one of that form a stored session."""
    if rules.mode != "history":
        return [_row(sides.base, metric, beside) for sides in cells]
    return [
        [session.values[metric] for session in each] for each in zip(*(sides.sessions for sides in cells), strict=True)
    ]


def _why_not(
    sides: Sides, metric: MetricDef, length: ComparisonResult | None, rules: Rules
) -> tuple[Literal["inconclusive", "not comparable"], str] | None:
    """Why a time of a cell cannot be judged; None if it can."""
    if rules.why_no_times:
        return "not comparable", rules.why_no_times
    for side, name in ((sides.base, "the reference"), (sides.candidate, "the candidate")):
        if not side.n:
            return "inconclusive", f"{name} finished no round"
        if metric.name not in side.values:
            return "inconclusive", f"missing on the side of {name}: {side.reasons.get(metric.name, 'not measured')}"
        if min(side.values[metric.name]) <= 0:
            what = "was too short to be measured" if metric.unit == "s" else f"has no {metric.name} above nought"
            return "inconclusive", f"a round of {name} {what}"
    if length is not None and length.verdict == "not comparable":
        if length.base is None or length.candidate is None:
            return "not comparable", length.reason
        return "not comparable", f"the answers differ in length: {length.base:g} -> {length.candidate:g} tokens"
    if sides.base.contended or sides.candidate.contended:
        return "inconclusive", rules.why_contended
    return None


def _result(effect: Effect, sides: Sides | None, metric: str, rules: Rules, detect: float) -> ComparisonResult:
    found = result_of(effect, rules, metric, detect)
    if sides is None:
        return found
    return replace(
        found, base=median(median(session.values[metric]) for session in sides.sessions),
        candidate=median(sides.candidate.values[metric]),
    )  # fmt: skip
