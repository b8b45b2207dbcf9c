"""A budget's metric as a busy machine would have let it be: each round without what it waited.

Taken away is all that the machine may have added and that is counted: waiting for a CPU (``run_delay``), what a hypervisor took
from any CPU (``steal``), page-ins. What is not counted is why more than half of the limit's size must be left over: a busy
neighbour empties caches and takes bandwidth. ``benchmarks/busy_neighbours.py`` found up to 1.7 times the time without waiting,
for what reads more memory than the caches hold beside neighbours that copy memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..measure.noise import MAJOR_FAULT_NS, TICK_NS
from ..records import RoundsRecord
from ..stats.budget import judge_budget
from ..stats.budget_expression import Budget
from ..units import format_quantity

FAR: Final = 2.0
"""Times the limit: what is beyond it without all waiting is the model's own."""
_WAITED: Final = ("run_delay", "steal", "major_faults")
_LESS_THE_WAIT: Final = ("latency", "ttft")
"""Times that hold at most all that was waited."""
_BY_LATENCY: Final = {"latency_per_token": 1.0, "tokens_per_s": -1.0}
"""Metrics that go with the latency: the power of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """What a budget's statistic is without the waiting."""

    shown: str
    """As people read it; empty for a quantile of few rounds."""
    is_far_off: bool
    """Whether even that misses the limit by so much that no busy machine explains it."""
    reason: str
    """How that was decided, against the generous limit."""
    p_value: float | None


def judge_net(blocks: Sequence[RoundsRecord], budget: Budget, *, alpha: float, last: bool) -> Net | None:
    """Judge the rounds without their waiting against a limit that is :data:`FAR` times as generous.

    :param alpha: as for the rounds as they are, in the place of which it decides.
    :returns: None where what was waited is not known of every round, or the metric does not tell its part.
    """
    values = list(_net_values(blocks, budget.metric.name))
    known = [value for value in values if value is not None and value > 0]
    if not known or len(known) < len(values):
        return None
    si = [budget.metric.to_si(value) for value in known]
    generous = replace(budget, limit=budget.limit * FAR if budget.is_upper else budget.limit / FAR)
    decision = judge_budget(si, generous, alpha=alpha, last=last)
    shown = "" if decision.observed is None else format_quantity(decision.observed, budget.metric.unit)
    return Net(shown=shown, is_far_off=decision.verdict == "failed", reason=decision.reason, p_value=decision.p_value)


def _net_values(blocks: Sequence[RoundsRecord], metric: str) -> Iterator[float | None]:
    """One number a round as stored; None where it cannot be told."""
    for block in blocks:
        none = [None] * block.n
        columns = [block.values.get(name, none) for name in (metric, "latency", "net_time", *_WAITED)]
        for value, latency, net, *waits in zip(*columns, strict=True):
            waited = None if latency is None else _waited(latency, *waits)
            if value is None or latency is None or net is None or waited is None:
                yield None  # net time is there where one thread computes: what others wait is not counted
            elif metric in _LESS_THE_WAIT:
                yield value - waited
            elif metric in _BY_LATENCY and latency > waited:
                yield value * ((latency - waited) / latency) ** _BY_LATENCY[metric]
            else:
                yield None


def _waited(latency_ns: float, delay_ns: float | None, steal_ns: float | None, faults: float | None) -> float | None:
    """All that a round waited, in nanoseconds; None where a part of it is not known."""
    if steal_ns is None and latency_ns < TICK_NS:
        steal_ns = 0  # too short to have any told; what a hypervisor takes is longer, and few such rounds meet it
    if delay_ns is None or steal_ns is None or faults is None:
        return None
    return delay_ns + steal_ns + faults * MAJOR_FAULT_NS
