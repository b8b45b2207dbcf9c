"""Whether sampled outputs pass often enough: ``samples=20, min_pass_rate=0.8``.

Each sample passes or does not, independently of the others, as each has a seed of its own. The rule is exact: with the rate
exactly at its limit, the chance that any look fails the cell stays within ``alpha``, and the chance that any look certifies it
within :data:`~pytest_llmci.stats.looks.PASS_ERROR_LAST`. There is a look after every sample, so that a hopeless cell stops after a
few. What may be spent by each look follows the curve of :mod:`~pytest_llmci.stats.looks`; what a look spends is not bounded but
summed up over all courses that reach it (binomial probabilities, by recursion), so that nothing is lost to the number of looks.

Sources: Clopper and Pearson 1934 (limits); Lan and DeMets 1983 (spending); Schultz et al. 1973 (recursion).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ..records import Verdict
from ..settings import MOST_SAMPLES
from .looks import PASS_ERROR_LAST, SESSION_ALPHA, spent_share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.integer[Any]]
    Bools = NDArray[np.bool_]

_ROUNDING: Final = 1 + 1e-9
"""Sums of probabilities can equal what may be spent, where the last digit of a float must not decide."""
MOST_NAMED: Final = 2000
"""Samples that are named as what would decide: who is told of more will not take them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PassRate:
    """What the samples so far say."""

    verdict: Verdict
    """``failed`` and ``pass`` only on proof; where ``decided`` is not set, what holds if sampling stops here."""
    passed: int
    samples: int
    """Judged: those up to the one that decided."""
    low: float
    """Exact lower limit of the rate, missed in 5 % of cases."""
    high: float
    """Exact upper limit, missed in ``alpha`` of all cases."""
    p_value: float
    """Chance of so few passes, or fewer, at exactly the demanded rate."""
    decided: bool
    """Whether no further sample is needed."""


@dataclass(frozen=True, slots=True)
class Boundaries:
    """For each number of samples, from 1 (index 0): the most passes that fail, and the fewest that certify."""

    fail: tuple[int, ...]
    """-1 where no number of passes fails yet."""
    certify: tuple[int, ...]
    """More than there are samples where none certifies yet."""


def judge_passes(outcomes: Sequence[bool], planned: int, least: float, *, alpha: float = SESSION_ALPHA) -> PassRate:
    """Judge ``pass rate >= least`` by samples in the order of drawing.

    :param outcomes: of each sample so far, whether it passed; what comes after the one that decides is not looked at.
    :param planned: how many samples there may be in all.
    :param least: the demanded rate; 1: a sample that does not pass fails the cell, and ``planned`` that do pass it.
    :param alpha: chance of a false failure with the rate exactly at ``least``, over all looks.
    :raises ValueError: if there is no sample, or a number lies outside what it may be.

    >>> found = judge_passes([False] * 5, 20, 0.8)
    >>> found.verdict, found.samples, judge_passes([True] * 5, 5, 0.8).verdict
    ('failed', 5, 'inconclusive')
    """
    if not outcomes or not 1 <= planned <= MOST_SAMPLES or not 0 < least <= 1 or not 0 < alpha < 1:
        raise ValueError(
            f"{len(outcomes)} of {planned} samples, rate {least:g}, alpha {alpha:g}: give 1 to {MOST_SAMPLES:,} samples"
        )
    passed, number, verdict = _walk(outcomes[:planned], planned, least, alpha)
    low, high, p_value = _limits(passed, number, least, alpha)
    return PassRate(
        verdict=verdict, passed=passed, samples=number, low=low, high=high, p_value=p_value,
        decided=verdict != "inconclusive" or number == planned,
    )  # fmt: skip


def _walk(outcomes: Sequence[bool], planned: int, least: float, alpha: float) -> tuple[int, int, Verdict]:
    """Passes and samples up to the one that decides, and the verdict."""
    if least == 1:
        number = next((place for place, passes in enumerate(outcomes, 1) if not passes), len(outcomes))
        passed = sum(outcomes[:number])
        return passed, number, "failed" if passed < number else "pass" if number == planned else "inconclusive"
    edges, passed = boundaries(planned, least, alpha), 0
    for number, passes in enumerate(outcomes, 1):
        passed += passes
        if passed <= edges.fail[number - 1]:
            return passed, number, "failed"
        if passed >= edges.certify[number - 1]:
            return passed, number, "pass"
    return passed, len(outcomes), "inconclusive"


def _limits(passed: int, samples: int, least: float, alpha: float) -> tuple[float, float, float]:
    """Exact limits, one-sided each (Clopper and Pearson), and the chance of so few passes."""
    from scipy.special import bdtr, betaincinv

    low = 0.0 if not passed else float(betaincinv(passed, samples - passed + 1, PASS_ERROR_LAST))
    high = 1.0 if passed == samples else float(betaincinv(passed + 1, samples - passed, 1 - alpha))
    return low, high, float(bdtr(passed, samples, least))


@lru_cache(maxsize=64)
def boundaries(planned: int, least: float, alpha: float = SESSION_ALPHA) -> Boundaries:
    """The exact rule for that many samples.

    A failure takes at least two samples that do not pass, as one outlier never fails a build; and each decision is one also by the
    plain test of the samples at hand, so that the limits that are shown agree with it.

    >>> boundaries(5, 0.8).fail, boundaries(5, 0.8).certify
    ((-1, -1, -1, 0, 1), (2, 3, 4, 5, 6))
    """
    import numpy as np

    alive, lowest = (
        np.ones(1),
        0,
    )  # chance of each number of passes, from ``lowest``, at the limit and without a decision so far
    failing, certifying = 0.0, 0.0
    fail: list[int] = []
    certify: list[int] = []
    for number in range(1, planned + 1):
        alive = np.convolve(alive, (1 - least, least))
        share, counts = spent_share(number / planned), lowest + np.arange(alive.size)
        may_fail = (counts <= number - 2) & _proves(counts, number, least, alpha, below=True)
        from_below = np.cumsum(alive)
        left = int(np.count_nonzero(may_fail & (failing + from_below <= alpha * share * _ROUNDING)))
        may_certify = _proves(counts, number, least, PASS_ERROR_LAST, below=False)
        from_above = np.cumsum(alive[::-1])[::-1]
        right = int(np.count_nonzero(may_certify & (certifying + from_above <= PASS_ERROR_LAST * share * _ROUNDING)))
        failing += float(alive[:left].sum())
        certifying += float(alive[alive.size - right :].sum())
        alive, lowest = alive[left : alive.size - right], lowest + left
        fail.append(lowest - 1)
        certify.append(lowest + alive.size)
    return Boundaries(tuple(fail), tuple(certify))


def _proves(passed: Ints, samples: int, least: float, error: float, *, below: bool) -> Bools:
    """Of each number of passes, whether the plain test of that many samples would decide."""
    import numpy as np
    from scipy.special import bdtr, bdtrc

    if below:
        return np.asarray(bdtr(passed, samples, least) <= error * _ROUNDING)
    tails = np.where(passed > 0, bdtrc(np.maximum(passed - 1, 0), samples, least), 1.0)
    return np.asarray(tails <= error * _ROUNDING)


def needed_samples(share: float, least: float, alpha: float = SESSION_ALPHA) -> int | None:
    """About how many samples decide where that share of them passes; None where more than :data:`MOST_NAMED` would be needed.

    >>> needed_samples(1.0, 0.8), needed_samples(0.6, 0.8), needed_samples(0.799, 0.8)
    (14, 32, None)
    """
    count = _first_by_the_plain_test(share, least, alpha)
    while count is not None and count <= MOST_NAMED:  # looking costs a little, and only the rule itself knows how much
        edges = boundaries(count, least, alpha)
        courses = [round(share * number) for number in range(1, count + 1)]
        if any(
            passed <= low or passed >= high
            for passed, low, high in zip(courses, edges.fail, edges.certify, strict=True)
        ):
            return count
        count += max(1, count // 30)
    return None


def _first_by_the_plain_test(share: float, least: float, alpha: float) -> int | None:
    """The fewest samples that decide by one look alone, by doubling and halving; exact up to the steps of whole numbers."""
    if share == least:
        return None

    def decides(count: int) -> bool:
        from scipy.special import bdtr, bdtrc

        passed = round(share * count)
        if share < least:
            return count - passed >= 2 and float(bdtr(passed, count, least)) <= alpha * _ROUNDING
        return passed > 0 and float(bdtrc(passed - 1, count, least)) <= PASS_ERROR_LAST * _ROUNDING

    high = 1
    while not decides(high):
        if high > MOST_NAMED:
            return None
        high *= 2
    return next(count for count in range(max(1, high // 2), high + 1) if decides(count))


def least_to_certify(least: float) -> int:
    """How many samples certify a rate if all of them pass.

    >>> least_to_certify(0.8), least_to_certify(0.95)
    (14, 59)
    """
    return math.ceil(math.log(PASS_ERROR_LAST) / math.log(least) - 1e-12)
