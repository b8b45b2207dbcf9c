"""Two sides of one model against each other: which metrics are gated, by which rule, and what comes of it.

The unit is a model with its selected cells, as they share one family of tests. Where both sides ran, and when, is not
known here: the interleaved schedule, a baseline and ``llmci compare`` hand in the same :class:`CellSamples`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from ...measure.memory import GROWTH
from ...measure.starts import START_TIMES
from ...metrics import BESIDE, MetricDef
from ...records import ComparisonResult, Mode
from ...stats.compare import PROCESS_TIME_SD_S, GateSettings, decide
from ...stats.memory import GROWTH_TOLERANCE_BYTES, RELATIVE_TOLERANCE, TOLERANCE_BYTES, compare_memory
from ...units import format_quantity
from .cell_samples import CellSamples, Sides

if TYPE_CHECKING:
    from ...stats.compare import Effect
    from ...stats.compare import Mode as TimeMode
    from ...stats.samples import Rows
    from ...stats.stored import TimeMetric

DETECT: Final = 0.05
"""The smallest change of a time that must be found unless another is asked for."""
LEAST_CPU_SHARE: Final = 0.2
"""CPU time that is a smaller part of the net time than this tells nothing of an answer's speed, and varies by more than it."""
AS_MEASURED: Final = "as measured, not beside the frozen model"
LEAST_ANCHORED_SHARE: Final = 0.8
"""CPU time that is a smaller part of the net time than this: what the model waits for is not what slows a frozen model down."""
_TIMES: Final[dict[str, TimeMetric]] = {"cpu_time": "cpu", "net_time": "net"}
"""Metrics of the model's own process; every other time is one of the wall clock."""
PEAK: Final = "peak_rss"
LENGTH: Final = "output_tokens"
MEAN_LENGTH: Final = "output_tokens_mean"
"""Of imported runs without single requests."""
CHARACTERS_APART: Final = 0.10
"""Of the reference's length: words may change in a pipeline that is only reworded; a tenth of the answer may not."""


Accept = Callable[[str, ComparisonResult], str]
"""Cell id (alias for a whole model) and regression -> why it was accepted beforehand; empty if it was not."""


def accepted_or_not(name: str, result: ComparisonResult, accepted: Accept) -> ComparisonResult:
    """The result, with the reason where it is a regression that is meant."""
    if result.verdict != "regressed":
        return result
    return replace(result, accepted=accepted(name, result))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How two sides are compared."""

    against: str
    """The reference as people know it."""
    mode: Mode = "interleaved"
    alpha: float
    """False alarms that this model may have, over all its metrics and looks."""
    detect: Mapping[str, float] = field(default_factory=dict)
    """Metric -> the smallest change that must be found; what is named here is gated. The empty name is for all times."""
    looks: int = 1
    on_cpu: bool = True
    """Whether the model computes on this machine's CPU, so that its own CPU time tells of its speed."""
    why_contended: str = "other timed work ran at the same time"
    environment_shift: float = 0.0
    """For stored numbers: what the load of the machine alone could explain, as logarithm."""
    shifts: Mapping[TimeMetric, float] = field(default_factory=dict)
    """The same by kind of time, where it is known for each."""
    anchored_shifts: Mapping[TimeMetric, float] = field(default_factory=dict)
    """The same of times that are divided by those of a frozen model."""
    counted: tuple[str, ...] = ()
    """Metrics that equal answers have equal: gated without a test."""
    only: tuple[str, ...] = ()
    """Times to gate instead of those that suit the model."""
    each_a_session: bool = False
    """Whether each sample is a session of its own, so that their spread tells all that sessions differ by."""
    by_block: str = ""
    """Interleaved: why a block and not a round is one value of the test; empty where a round is."""
    why_no_times: str = ""
    """Why no time of the two sides can be compared, as on different machines; empty where they can."""


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
    lengths = {cell: _length(sides, rules) for cell, sides in cells.items()}
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
        found.cells[cell] += [*_memory(sides, rules), *_counted(sides, rules)]
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
                _without_numbers(sides, metric.name, rules, verdict=verdict, reason=reason, detect=detect)
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


def result_of(effect: Effect, rules: Rules, metric: str, detect: float) -> ComparisonResult:
    """What the engine found, as it is recorded; without the medians."""
    return ComparisonResult(
        metric=metric, mode=rules.mode, verdict=effect.verdict, against=rules.against, base=None, candidate=None,
        change=effect.effect, low=effect.low, high=effect.high, visible=effect.visible, detect=detect, rounds=effect.rounds,
        pairs=effect.pairs, p_value=effect.p_value, improved=effect.improved, reason=effect.note, by_block=rules.by_block,
    )  # fmt: skip


def _without_numbers(
    sides: Sides,
    metric: str,
    rules: Rules,
    *,
    verdict: Literal["inconclusive", "not comparable"],
    reason: str,
    detect: float,
) -> ComparisonResult:
    base, candidate = (
        median(side.values[metric]) if side.values.get(metric) else None for side in (sides.base, sides.candidate)
    )
    change = candidate / base - 1 if base and candidate is not None else None
    return ComparisonResult(
        metric=metric, mode=rules.mode, verdict=verdict, against=rules.against, base=base, candidate=candidate, change=change,
        detect=detect, rounds=sides.candidate.n, pairs=len(set(sides.candidate.pairs)), reason=reason,
    )  # fmt: skip


def _length(sides: Sides, rules: Rules) -> ComparisonResult | None:
    """Whether both sides answer at one length: a model that answers shorter is not faster. None where nobody counted."""
    base, candidate = (side.values.get(LENGTH) for side in (sides.base, sides.candidate))
    if not base or not candidate:
        return _mean_length(sides, rules) or _characters(sides, rules)
    before, after = median(base), median(candidate)
    equal = before == after
    return ComparisonResult(
        metric=LENGTH, mode="exact", verdict="pass" if equal else "not comparable", against=rules.against, base=before, candidate=after,
        change=after / before - 1 if before else None, detect=0.0, rounds=sides.candidate.n, pairs=len(set(sides.candidate.pairs)),
        reason="" if equal else f"the answers became {'longer' if after > before else 'shorter'}",
    )  # fmt: skip


def _mean_length(sides: Sides, rules: Rules) -> ComparisonResult | None:
    """Where another tool told the mean of its answers alone: means that lie far apart are of other answers."""
    base, candidate = (side.values.get(MEAN_LENGTH) for side in (sides.base, sides.candidate))
    if not base or not candidate:
        return None
    before, after = median(base), median(candidate)
    if abs(after - before) <= CHARACTERS_APART * before:
        return None
    return ComparisonResult(
        metric=LENGTH, mode="exact", verdict="not comparable", against=rules.against, base=before, candidate=after,
        change=after / before - 1, detect=0.0, rounds=sides.candidate.n, pairs=len(set(sides.candidate.pairs)),
        reason=f"the answers became {'longer' if after > before else 'shorter'}",
    )  # fmt: skip


def _characters(sides: Sides, rules: Rules) -> ComparisonResult | None:
    """Where nobody counts tokens: outputs whose numbers of characters lie far apart are of another length, too."""
    before, after = sides.base.characters, sides.candidate.characters
    if before is None or after is None or abs(after - before) <= CHARACTERS_APART * before:
        return None
    return ComparisonResult(
        metric=LENGTH, mode="exact", verdict="not comparable", against=rules.against, base=None, candidate=None,
        change=after / before - 1 if before else None, detect=0.0, rounds=sides.candidate.n, pairs=len(set(sides.candidate.pairs)),
        reason=f"the answers became {'longer' if after > before else 'shorter'}: {before:g} -> {after:g} characters",
    )  # fmt: skip


def counted(metrics: Mapping[str, MetricDef]) -> tuple[str, ...]:
    """What :attr:`Rules.counted` is under these definitions: cost, where tokens are paid."""
    return tuple(name for name in ("cost",) if name in metrics and metrics[name].deterministic)


def _counted(sides: Sides, rules: Rules) -> list[ComparisonResult]:
    """What equal answers have equal: growth of the mean beyond the tolerance, or beyond the spread of the reference, is one."""
    results = []
    for name in rules.counted:
        base, candidate = (side.values.get(name) for side in (sides.base, sides.candidate))
        detect = rules.detect.get(name, rules.detect.get("", DETECT))
        if not base or not candidate:
            side, whose = (sides.candidate, "the candidate") if base else (sides.base, "the reference")
            reason = f"missing on the side of {whose}: {side.reasons.get(name, 'not measured')}"
            results.append(_without_numbers(sides, name, rules, verdict="inconclusive", reason=reason, detect=detect))
            continue
        before, after = fmean(base), fmean(candidate)
        tolerance = max(detect * before, max(base) - min(base))
        results.append(
            ComparisonResult(
                metric=name, mode="exact", verdict="regressed" if after - before > tolerance else "pass", against=rules.against,
                base=before, candidate=after, change=after / before - 1 if before else None,
                visible=tolerance / before if before else None, detect=detect, rounds=sides.candidate.n,
                pairs=len(set(sides.candidate.pairs)), improved=before - after > tolerance,
            )
        )  # fmt: skip
    return results


def _memory(sides: Sides, rules: Rules) -> list[ComparisonResult]:
    """Peaks of the rounds, and what the memory pass measured."""
    why_not = ""
    if bool(sides.base.anchor) != bool(sides.candidate.anchor):  # the memory pass runs without it
        whose = "reference" if sides.base.anchor else "candidate"
        why_not = f"the process of the {whose} alone held the frozen model (--llmci-anchor)"
    return [
        *_peaks(PEAK, sides, rules, _of_rounds, least_bytes=TOLERANCE_BYTES, why_not=why_not),
        *_peaks(GROWTH, sides, rules, _of_memory_pass, least_bytes=GROWTH_TOLERANCE_BYTES),
    ]


class _Peaks(NamedTuple):
    """Of one side."""

    values: Sequence[float]
    methods: frozenset[str]
    why_none: str


def _of_rounds(side: CellSamples) -> _Peaks:
    return _Peaks(side.values.get(PEAK, ()), side.memory_methods, side.reasons.get(PEAK, "not measured"))


def _of_memory_pass(side: CellSamples) -> _Peaks:
    return _Peaks(side.memory_pass.growth, side.memory_pass.methods, "there was no memory pass (--llmci-memory)")


def _peaks(
    metric: str, sides: Sides, rules: Rules, peaks_of: Callable[[CellSamples], _Peaks], *, least_bytes: int, why_not: str = ""
) -> list[ComparisonResult]:  # fmt: skip
    """Nothing where a side has none and none were asked for."""
    base, candidate = peaks_of(sides.base), peaks_of(sides.candidate)
    relative = rules.detect.get(metric, RELATIVE_TOLERANCE)
    if not base.values or not candidate.values:
        if metric not in rules.detect:
            return []
        side, name = (candidate, "the candidate") if base.values else (base, "the reference")
        reason = f"missing on the side of {name}: {side.why_none}"
        return [_without_numbers(sides, metric, rules, verdict="inconclusive", reason=reason, detect=relative)]
    methods = base.methods | candidate.methods
    if len(methods) > 1:
        why_not = why_not or f"measured by different methods ({', '.join(sorted(methods))})"
    if why_not:
        return [
            _without_numbers(sides, metric, rules, verdict="not comparable", reason=why_not, detect=RELATIVE_TOLERANCE)
        ]
    decision = compare_memory(base.values, candidate.values, relative=relative, least_bytes=least_bytes)
    return [
        ComparisonResult(
            metric=metric, mode="exact", verdict=decision.verdict, against=rules.against, base=decision.base,
            candidate=decision.candidate, change=decision.effect,
            visible=decision.tolerance / decision.base if decision.base else None, detect=relative, rounds=len(candidate.values),
            pairs=len(set(sides.candidate.pairs)), improved=decision.improved,
            reason=f"tolerance {format_quantity(decision.tolerance, 'B')}",
        )
    ]  # fmt: skip
