"""How two sides are compared, and a result under these rules as it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

from ...records import ComparisonResult, Mode
from .cell_samples import Sides

if TYPE_CHECKING:
    from ...stats.compare import Effect
    from ...stats.stored import TimeMetric

DETECT: Final = 0.05
"""The smallest change of a time that must be found unless another is asked for."""


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


def result_of(effect: Effect, rules: Rules, metric: str, detect: float) -> ComparisonResult:
    """What the engine found, as it is recorded; without the medians."""
    return ComparisonResult(
        metric=metric, mode=rules.mode, verdict=effect.verdict, against=rules.against, base=None, candidate=None,
        change=effect.effect, low=effect.low, high=effect.high, visible=effect.visible, detect=detect, rounds=effect.rounds,
        pairs=effect.pairs, p_value=effect.p_value, improved=effect.improved, reason=effect.note, by_block=rules.by_block,
    )  # fmt: skip


def without_numbers(
    sides: Sides,
    metric: str,
    rules: Rules,
    *,
    verdict: Literal["inconclusive", "not comparable"],
    reason: str,
    detect: float,
) -> ComparisonResult:
    """Of a metric that cannot be judged: why, and the medians as far as there are any."""
    base, candidate = (
        median(side.values[metric]) if side.values.get(metric) else None for side in (sides.base, sides.candidate)
    )
    change = candidate / base - 1 if base and candidate is not None else None
    return ComparisonResult(
        metric=metric, mode=rules.mode, verdict=verdict, against=rules.against, base=base, candidate=candidate, change=change,
        detect=detect, rounds=sides.candidate.n, pairs=len(set(sides.candidate.pairs)), reason=reason,
    )  # fmt: skip
