"""What is compared by a tolerance and not by a test: lengths of answers, what is counted of them, peaks of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Final, NamedTuple

from ...measure.memory import GROWTH
from ...metrics import MetricDef
from ...records import ComparisonResult
from ...stats.memory import GROWTH_TOLERANCE_BYTES, RELATIVE_TOLERANCE, TOLERANCE_BYTES, compare_memory
from ...units import format_quantity
from .cell_samples import CellSamples, Sides
from .rules import DETECT, Rules, without_numbers

PEAK: Final = "peak_rss"
LENGTH: Final = "output_tokens"
MEAN_LENGTH: Final = "output_tokens_mean"
"""Of imported runs without single requests."""
CHARACTERS_APART: Final = 0.10
"""Of the reference's length: words may change in a pipeline that is only reworded; a tenth of the answer may not."""


def compare_length(sides: Sides, rules: Rules) -> ComparisonResult | None:
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


def compare_counted(sides: Sides, rules: Rules) -> list[ComparisonResult]:
    """What equal answers have equal: growth of the mean beyond the tolerance, or beyond the spread of the reference, is one."""
    results = []
    for name in rules.counted:
        base, candidate = (side.values.get(name) for side in (sides.base, sides.candidate))
        detect = rules.detect.get(name, rules.detect.get("", DETECT))
        if not base or not candidate:
            side, whose = (sides.candidate, "the candidate") if base else (sides.base, "the reference")
            reason = f"missing on the side of {whose}: {side.reasons.get(name, 'not measured')}"
            results.append(without_numbers(sides, name, rules, verdict="inconclusive", reason=reason, detect=detect))
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


def compare_peaks(sides: Sides, rules: Rules) -> list[ComparisonResult]:
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
        return [without_numbers(sides, metric, rules, verdict="inconclusive", reason=reason, detect=relative)]
    methods = base.methods | candidate.methods
    if len(methods) > 1:
        why_not = why_not or f"measured by different methods ({', '.join(sorted(methods))})"
    if why_not:
        return [
            without_numbers(sides, metric, rules, verdict="not comparable", reason=why_not, detect=RELATIVE_TOLERANCE)
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
