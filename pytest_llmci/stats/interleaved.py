"""The effect of each cell from rounds in which base and candidate ran in turn.

The logarithm of their ratio, round by round, is free of what the machine did at the time. Two things remain: noise from
round to round, and what a process keeps for its life (the layout of its memory), which no number of rounds in the same
processes averages out. The second is estimated from fresh pairs of processes, starting from a prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .estimates import Estimates
from .location import (
    LEAST_SD,
    LEAST_VALUES,
    WINSORISE_AT_MAD,
    location_variance,
    median_absolute_deviation,
    residual_variance,
    robust_location,
)
from .moderation import moderated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .location import Floats
    from .samples import Group

PROCESS_SD: Final = 0.010
"""Prior of what one process keeps for its life, as logarithm; 0 to 1.5 % were measured, by cell, for CPU time."""
PROCESS_PRIOR_FREEDOM: Final = 6.0
"""What the prior weighs, in pairs of processes."""
ACROSS_MODELS: Final = 0.25
"""Correlation of the process effects of different models: low, as each model has its own processes."""
_LEAST_PROCESS_SHARE: Final = 0.5
"""The process effect is never taken to be smaller than this share of its prior."""
_MAD_BOUNDS: Final = (0.6, 3.0)
"""Bounds of a cell's MAD in multiples of the typical one, as that of few rounds is itself noisy."""
_MEDIAN_OVER_MEAN: Final = 1.57
"""Sampling variance of a median over that of a mean: pi / 2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Differences:
    """log(candidate / base) of one group of cells, with what was found of it so far."""

    group: Group
    values: Floats
    effect: Floats
    mad: Floats
    enough: bool


def interleaved_estimates(groups: Sequence[Group], count: int) -> Estimates:
    """Effects and their uncertainty.

    :param groups: of :func:`~pytest_llmci.stats.samples.grouped`, with equally many rounds on both sides.
    :param count: cells in all groups.
    """
    import numpy as np

    parts = [_differences(group) for group in groups]
    judged = [part for part in parts if part.enough]
    effect, variance = np.zeros(count), np.ones(count)
    rounds, pairs, enough = np.zeros(count, np.intp), np.zeros(count, np.intp), np.zeros(count, np.bool_)
    for part in parts:
        cells = part.group.cells
        effect[cells], rounds[cells] = part.effect, part.values.shape[1]
        pairs[cells], enough[cells] = part.group.pair_count, part.enough
    typical = float(np.median(np.concatenate([part.mad for part in judged]))) if judged else 0.0
    for part in judged:
        variance[part.group.cells] = residual_variance(part.values, part.effect, _clip(part, typical))
    unaided = np.maximum(rounds - 1.0, 1.0)
    freedom = unaided.copy()
    if judged:
        variance[enough], freedom[enough] = moderated(variance[enough], freedom[enough])
    own = variance.copy()
    for part in parts:
        own[part.group.cells] = location_variance(variance[part.group.cells], part.values.shape[1])
    process, process_freedom = _process_variance(judged, variance, typical)
    return Estimates(
        effect=effect,
        own=own,
        own_freedom=freedom,
        unaided_freedom=unaided,
        shared=process / pairs,
        shared_freedom=process_freedom,
        lasting=False,
        across=ACROSS_MODELS,
        rounds=rounds,
        pairs=pairs,
        enough=enough,
    )


def _differences(group: Group) -> _Differences:
    values = group.candidate - group.base
    return _Differences(
        group=group,
        values=values,
        effect=robust_location(values),
        mad=median_absolute_deviation(values),
        enough=values.shape[1] >= LEAST_VALUES,
    )


def _clip(part: _Differences, typical: float) -> Floats:
    import numpy as np

    low, high = _MAD_BOUNDS
    scale = max(typical, LEAST_SD)
    return np.asarray(WINSORISE_AT_MAD * np.clip(part.mad, low * scale, high * scale))


def _process_variance(parts: Sequence[_Differences], variance: Floats, typical: float) -> tuple[float, float]:
    """Variance between pairs of processes beyond what their rounds explain, pooled over cells, and its freedom.

    Cells share their processes, so that more cells make it no better known than the number of pairs does.
    """
    import numpy as np

    total, weight, most = 0.0, 0.0, 1
    for part in parts:
        pairs, count = part.group.pairs, part.group.pair_count
        if count == 1:
            continue
        clip, place = _clip(part, typical)[:, None], part.effect[:, None]
        kept = np.clip(part.values, place - clip, place + clip)  # one stall must not look like a process
        middles = np.stack([np.median(kept[:, pairs == pair], axis=1) for pair in range(count)], axis=1)
        noise = _MEDIAN_OVER_MEAN * variance[part.group.cells] * count / part.values.shape[1]
        total += (count - 1) * float((middles.var(axis=1, ddof=1) - noise).sum())
        weight += (count - 1) * middles.shape[0]
        most = max(most, count)
    between = max(total / weight, 0.0) if weight else 0.0
    return moderated_process(between, most)


def moderated_process(between: float, pairs: int) -> tuple[float, float]:
    """Variance between pairs of processes as the gate takes it, and its freedom.

    :param between: what was measured of it, 0 where there was a single pair.
    :param pairs: of processes that it was measured with.
    """
    prior, freedom = 2 * PROCESS_SD**2, PROCESS_PRIOR_FREEDOM + pairs - 1
    process = (PROCESS_PRIOR_FREEDOM * prior + (pairs - 1) * between) / freedom
    return max(process, _LEAST_PROCESS_SHARE * prior), freedom
