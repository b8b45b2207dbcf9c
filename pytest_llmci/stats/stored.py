"""The effect of each cell against numbers that were stored in another session.

More rounds do not help much: what differs between two sessions (temperature, neighbours, where the scheduler put the
process) is common to all rounds of one. It enters as a variance of its own, with a prior that stored sessions update. A
change of the machine's load that both sides recorded adds to it and is never subtracted, as a correction by a noisy
witness would bring more error than it removes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .estimates import Estimates
from .location import (
    LEAST_SD,
    LEAST_VALUES,
    WINSORISE_AT_MAD,
    hodges_lehmann_shift,
    location_variance,
    median_absolute_deviation,
    residual_variance,
    row_median,
)
from .moderation import moderated

if TYPE_CHECKING:
    from .estimates import Bools
    from .location import Floats
    from .samples import Group, Ints

TimeMetric: TypeAlias = Literal["cpu", "net", "wall"]

SESSION_SD: Final[dict[TimeMetric, float]] = {"cpu": 0.03, "net": 0.03, "wall": 0.10}
"""Prior of what one session keeps for its length, as logarithm."""
ANCHORED_SESSION_SD: Final = 0.025
"""The same of times divided, round by round, by those of a small frozen model in the same session."""
SAVED_FREEDOM: Final = 8.0
"""How well the prior is known, in sessions, where a single one is stored."""
HISTORY_PRIOR_FREEDOM: Final = 3.0
"""What the prior weighs beside several stored sessions: little, so that the machine's own noise soon counts."""
_CONTENTION_SLOPE: Final[dict[TimeMetric, float]] = {"cpu": 0.15, "net": 0.15, "wall": 1.2}
_KERNEL_SLOPE: Final = 0.6
_UNKNOWN_KERNEL_SHIFT: Final = 0.05
"""Without a kernel on both sides: what CPU time varies by between sessions of one machine."""
ANCHORED_SHARE: Final = 1 / 3
"""The part of a shift that an anchor of another shape does not share."""
_HISTORY_SPREAD: Final = 1.3
"""Sampling variance of the median of the sessions' locations over the variance between them, times their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Witnesses:
    """What tells how busy the machine was during one side's rounds: all cells, all sessions, in any order."""

    wall_s: Sequence[float]
    cpu_s: Sequence[float]
    """Of the same rounds as :attr:`wall_s`."""
    kernel_s: Sequence[float] = ()
    """Times of a fixed computation that ran beside the rounds; empty where none did."""


def environment_shift(
    base: Witnesses, candidate: Witnesses, *, metric: TimeMetric = "cpu", anchored: bool = False
) -> float:
    """The shift, as logarithm, that a change of the machine's load alone could explain.

    ``hypot(slope * change of log(wall / CPU), 0.6 * change of log(lower quartile of the kernel))``. The slope is 0.15 for
    CPU and net time and 1.2 for wall time, all fitted to unchanged programs under changing load. A third of it for anchored
    times.

    :raises ValueError: if a side has no rounds or a time is not positive and finite.
    """
    contention = _CONTENTION_SLOPE[metric] * (_contention(candidate, "candidate") - _contention(base, "base"))
    if len(base.kernel_s) and len(candidate.kernel_s):
        kernel = _KERNEL_SLOPE * (_lower_quartile(candidate, "candidate") - _lower_quartile(base, "base"))
    else:
        kernel = _UNKNOWN_KERNEL_SHIFT
    return math.hypot(contention, kernel) * (ANCHORED_SHARE if anchored else 1.0)


def _contention(side: Witnesses, name: str) -> float:
    return math.log(
        sum(_checked(side.wall_s, f"wall_s of the {name}")) / sum(_checked(side.cpu_s, f"cpu_s of the {name}"))
    )


def _lower_quartile(side: Witnesses, name: str) -> float:
    import numpy as np

    return math.log(float(np.quantile(_checked(side.kernel_s, f"kernel_s of the {name}"), 0.25)))


def _checked(times: Sequence[float], what: str) -> Sequence[float]:
    if not len(times) or not all(math.isfinite(time) and time > 0 for time in times):
        raise ValueError(f"{what}: give at least one time, all positive and finite")
    return times


def session_sd(metric: TimeMetric, *, anchored: bool) -> float:
    """Prior standard deviation between sessions, as logarithm."""
    return ANCHORED_SESSION_SD if anchored else SESSION_SD[metric]


def saved_variance(session: float, shift: float) -> tuple[float, float]:
    """Variance of the difference between two sessions, and its degrees of freedom."""
    return 2 * session**2 + shift**2, SAVED_FREEDOM


def history_variance(session: float, between: float, sessions: int, shift: float) -> tuple[float, float]:
    """Variance of the difference between a session and the median of several, and its degrees of freedom.

    :param session: prior standard deviation between sessions.
    :param between: variance between the stored sessions.
    """
    freedom = HISTORY_PRIOR_FREEDOM + sessions - 1
    squared = (HISTORY_PRIOR_FREEDOM * session**2 + (sessions - 1) * between) / freedom
    return squared * (1 + _HISTORY_SPREAD / sessions) + shift**2, freedom


def saved_estimates(groups: Sequence[Group], count: int, *, session: float, shift: float) -> Estimates:
    """Effects against one stored session.

    :param session: standard deviation between sessions.
    :param shift: of :func:`environment_shift`.
    """
    import numpy as np

    base, candidate = _side(groups, count, "base"), _side(groups, count, "candidate")
    effect = np.zeros(count)
    for group in groups:
        effect[group.cells] = hodges_lehmann_shift(group.base, group.candidate)
    shared, freedom = saved_variance(session, shift)
    return Estimates(
        effect=effect,
        own=base.squared_error + candidate.squared_error,
        own_freedom=np.minimum(base.freedom, candidate.freedom),
        unaided_freedom=np.minimum(base.unaided_freedom, candidate.unaided_freedom),
        shared=np.full(count, shared),
        shared_freedom=freedom,
        lasting=True,
        across=1.0,
        rounds=np.minimum(base.rounds, candidate.rounds),
        pairs=np.zeros(count, np.intp),
        enough=base.enough & candidate.enough,
    )


def history_estimates(sessions: Sequence[Sequence[Group]], count: int, *, session: float, shift: float) -> Estimates:
    """Effects against several stored sessions, whose spread tells how much sessions differ.

    A session moves all cells alike: M of them are M - 1 degrees of freedom, however many cells they hold.

    :param sessions: one list of groups a stored session, each with the same candidate; at least two.
    """
    import numpy as np

    places = np.stack([_medians(groups, count, "base") for groups in sessions], axis=1)
    between = float(np.median(places.var(axis=1, ddof=1)))
    shared, freedom = history_variance(session, between, len(sessions), shift)
    candidate = _side(sessions[0], count, "candidate")
    return Estimates(
        effect=_medians(sessions[0], count, "candidate") - np.median(places, axis=1),
        own=candidate.squared_error,
        own_freedom=candidate.freedom,
        unaided_freedom=candidate.unaided_freedom,
        shared=np.full(count, shared),
        shared_freedom=freedom,
        lasting=True,
        across=1.0,
        rounds=candidate.rounds,
        pairs=np.zeros(count, np.intp),
        enough=candidate.enough,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    squared_error: Floats
    freedom: Floats
    unaided_freedom: Floats
    rounds: Ints
    enough: Bools


def _side(groups: Sequence[Group], count: int, name: Literal["base", "candidate"]) -> _Side:
    import numpy as np

    variance, rounds = np.ones(count), np.zeros(count, np.intp)
    for group in groups:
        values = getattr(group, name)
        rounds[group.cells] = values.shape[1]
        if values.shape[1] >= LEAST_VALUES:
            clip = WINSORISE_AT_MAD * np.maximum(median_absolute_deviation(values), LEAST_SD)
            variance[group.cells] = residual_variance(values, row_median(values), clip)
    enough, unaided = rounds >= LEAST_VALUES, np.maximum(rounds - 1.0, 1.0)
    freedom = unaided.copy()
    if enough.any():
        variance[enough], freedom[enough] = moderated(variance[enough], freedom[enough])
    squared_error = variance.copy()
    for n in np.unique(rounds):
        squared_error[rounds == n] = location_variance(variance[rounds == n], int(n))
    return _Side(squared_error=squared_error, freedom=freedom, unaided_freedom=unaided, rounds=rounds, enough=enough)


def _medians(groups: Sequence[Group], count: int, name: Literal["base", "candidate"]) -> Floats:
    import numpy as np

    places = np.zeros(count)
    for group in groups:
        places[group.cells] = row_median(getattr(group, name))
    return places
