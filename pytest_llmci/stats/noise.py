"""What an unchanged program's numbers vary by, split by what makes them vary.

Two sides that are the same ran in turn, in several sessions, each with fresh pairs of processes. On the logarithm, a value is
the sum of what its session, its process and its round add. What differs between both sides of a pair cannot come from the
session, nor from what disturbs the machine for a while, so that it tells the part of a process; what moves whole sessions, after
the other two are taken away, is the part of a session.

Sources: Searle, Casella and McCulloch, Variance Components, chapter 3 (estimates by analysis of variance); Tukey and
McLaughlin 1963 (winsorised variance); Rousseeuw and Croux 1993 (scale from differences of pairs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .location import WINSORISE_AT_MAD
from .looks import PASS_ERROR_LAST

if TYPE_CHECKING:
    from .location import Floats

_PAIR_MEDIAN_TO_SD: Final = 1 / 0.9539
"""The median distance of two values of a normal distribution is 0.9539 of its standard deviation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairOfProcesses:
    """One cell in one pair of processes, both of the same program. Round i of one side ran in turn with round i of the other."""

    cell: str
    session: int
    pair: int
    """Within the session."""
    base: tuple[float, ...]
    """Positive and finite."""
    candidate: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one thing adds to the noise, as standard deviation of the logarithm: 0.02 is 2 %."""

    sd: float | None
    """None where it cannot be told."""
    most: float | None = None
    """Upper limit, 95 %."""
    freedom: int = 0
    """Degrees of freedom; few mean that it is hardly known."""
    reason: str = ""
    """Why it cannot be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """The parts of one metric's noise."""

    round: Part
    """From round to round within one process."""
    ratio: Part
    """Of candidate over base from round to round: smaller than twice that of a round where both sides share what disturbs them."""
    process: Part
    """What one process keeps for its life."""
    session: Part
    """What one session keeps, drift from one pair of processes to the next included."""


def split_noise(measured: Iterable[PairOfProcesses]) -> Noise:
    """The parts of the noise, pooled over cells.

    :raises ValueError: if there is nothing, a pair has sides of different length, or a value is not positive and finite.
    """
    pairs = [_Logs(one) for one in measured]
    if not pairs:
        raise ValueError("nothing was measured: give at least one pair of processes")
    by_cell = _by(pairs, lambda one: one.given.cell)
    single, _ = _within([[side for one in own for side in (one.base, one.candidate)] for own in by_cell])
    ratio, ratio_freedom = _within([[one.difference for one in own] for own in by_cell])
    if not ratio_freedom:
        few = Part(sd=None, reason="each process measured a single round")
        return Noise(round=few, ratio=few, process=few, session=few)
    process = _process(pairs, ratio)
    return Noise(
        round=_part(single, single, ratio_freedom),  # both sides of a round are disturbed alike: they count once
        ratio=_part(ratio, ratio, ratio_freedom),
        process=process,
        session=_session(by_cell, single, ratio, (process.sd or 0.0) ** 2),
    )


class _Logs:
    """The logarithms of one pair."""

    def __init__(self, given: PairOfProcesses) -> None:
        import numpy as np

        values = [*given.base, *given.candidate]
        if len(given.base) != len(given.candidate) or not values:
            raise ValueError(
                f"{given.cell}: {len(given.base)} and {len(given.candidate)} rounds: give equally many, at least one"
            )
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise ValueError(f"{given.cell}: give values that are positive and finite")
        self.given = given
        self.base: Floats = np.log(np.asarray(given.base, dtype=np.float64))
        self.candidate: Floats = np.log(np.asarray(given.candidate, dtype=np.float64))
        self.difference: Floats = self.candidate - self.base

    @property
    def rounds(self) -> int:
        return len(self.base)

    @property
    def middle(self) -> float:
        """Of both sides together."""
        return float(self.base.mean() + self.candidate.mean()) / 2


def _by(pairs: Iterable[_Logs], key: Callable[[_Logs], object]) -> list[list[_Logs]]:
    found: dict[object, list[_Logs]] = {}
    for one in pairs:
        found.setdefault(key(one), []).append(one)
    return list(found.values())


def _within(cells: Sequence[Sequence[Floats]]) -> tuple[float, int]:
    """Winsorised variance within samples, pooled, and its freedom. Samples of one cell share the size at which they are cut.

    The size comes from differences between two values of a sample, as the deviations from the median of so few are too small.
    """
    import numpy as np

    total, freedom = 0.0, 0
    for samples in cells:
        several = [sample for sample in samples if len(sample) > 1]
        if not several:
            continue
        gaps = [abs(sample[:, None] - sample)[np.triu_indices(len(sample), 1)] for sample in several]
        clip = WINSORISE_AT_MAD * _PAIR_MEDIAN_TO_SD * float(np.median(np.concatenate(gaps)))
        for sample in several:
            middle = np.median(sample)
            kept = np.clip(sample, middle - clip, middle + clip)
            total += float(((kept - kept.mean()) ** 2).sum())
            freedom += len(sample) - 1
    return (total / freedom if freedom else 0.0), freedom


def _process(pairs: Sequence[_Logs], ratio: float) -> Part:
    """Both sides are the same program: their difference is of the two processes, and of the rounds' noise."""
    import numpy as np

    squares = [float(np.median(one.difference)) ** 2 / 2 for one in pairs]
    noise = [ratio * _median_variance(one.rounds) / 2 for one in pairs]
    freedom = len({(one.given.session, one.given.pair) for one in pairs})
    return _part(float(np.mean(squares) - np.mean(noise)), float(np.mean(squares)), freedom)


def _median_variance(rounds: int) -> float:
    """Of a median over that of one value: that of a mean up to two values, pi / 2 times it for many."""
    exact = {1: 1.0, 2: 0.5, 3: 0.4487, 4: 0.2982, 5: 0.2868, 6: 0.2147, 7: 0.2104}
    return exact.get(rounds, math.pi / 2 / rounds)


def _session(cells: Sequence[Sequence[_Logs]], single: float, ratio: float, process: float) -> Part:
    """Variance between the sessions' means of a cell, less what rounds and processes make of it."""
    import numpy as np

    common, own = max(single - ratio / 2, 0.0), ratio / 2
    between, explained, freedom = [], [], 0
    for pairs in cells:
        sessions = _by(pairs, lambda one: one.given.session)
        if len(sessions) < 2:
            continue
        freedom = max(freedom, len(sessions) - 1)
        places = [
            np.average([one.middle for one in own_pairs], weights=[one.rounds for one in own_pairs])
            for own_pairs in sessions
        ]
        between.append(float(np.var(places, ddof=1)))
        rounds = [sum(one.rounds for one in own_pairs) for own_pairs in sessions]
        counts = [len(own_pairs) for own_pairs in sessions]
        explained.append(
            float(
                np.mean([common / n + own / (2 * n) + process / (2 * k) for n, k in zip(rounds, counts, strict=True)])
            )
        )
    if not between:
        return Part(sd=None, reason="it takes at least two sessions")
    return _part(float(np.mean(between) - np.mean(explained)), float(np.mean(between)), freedom)


def _part(variance: float, whole: float, freedom: int) -> Part:
    """
    :param variance: what is left of ``whole`` after other parts are taken away; less than nothing is none.
    :param whole: what the upper limit is made of, as what was taken away is itself not well known.
    """
    from scipy.special import chdtri

    limit = whole * freedom / float(chdtri(freedom, 1 - PASS_ERROR_LAST))
    return Part(sd=math.sqrt(max(variance, 0.0)), most=math.sqrt(limit), freedom=freedom)
