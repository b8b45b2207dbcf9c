"""The statistics of one sample: what a budget, an attribute, a column or a table row may name.

Pure Python, as it runs for every metric of every cell. A statistic that the sample cannot carry is
:class:`~pytest_llmci.records.Missing` with the reason, never a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..errors import MeasurementError, UnknownNameError
from ..metrics import STATISTICS
from ..quick_records import quickly_made
from ..records import Missing, Number

QUANTILE_ROUNDS: Final = 20
"""Rounds below which p90, p95 and p99 are missing: they would be the maximum under another name."""


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """n, min, median, mean, std, p90, p95, p99 and max of one sample, computed when asked for.

    >>> from pytest_llmci.stats.summary import summarise
    >>> summary = summarise([3.0, 1.0, 2.0])
    >>> summary.n, summary.median, summary.std
    (3, 2.0, 1.0)
    >>> summary.p95
    Missing(reason='p95 needs 20 rounds; this cell has 3')
    """

    ordered: tuple[float, ...]
    """The sample, ascending, in whatever unit it came."""
    of: str = "this cell"
    """What the sample belongs to, for the reasons."""
    reason: str = ""
    """Why the sample is empty."""

    @property
    def n(self) -> int:
        """Number of values; 0 is a measurement too: nothing was measured."""
        return len(self.ordered)

    @property
    def min(self) -> Number:
        """The least value."""
        return self.ordered[0] if self.ordered else self._nothing()

    @property
    def max(self) -> Number:
        """The greatest value."""
        return self.ordered[-1] if self.ordered else self._nothing()

    @property
    def median(self) -> Number:
        """The middle value, or the mean of the two in the middle."""
        if not self.ordered:
            return self._nothing()
        return _middle(self.ordered)

    @property
    def mean(self) -> Number:
        """The arithmetic mean, summed without loss."""
        return self._mean() if self.ordered else self._nothing()

    @property
    def std(self) -> Number:
        """The sample standard deviation (n - 1 in the denominator)."""
        if self.n < 2:
            return self._too_few("std", 2)
        return _deviation(self.ordered, self._mean())

    @property
    def p90(self) -> Number:
        """The 90 % quantile."""
        return self._shown_quantile("p90", 0.90)

    @property
    def p95(self) -> Number:
        """The 95 % quantile."""
        return self._shown_quantile("p95", 0.95)

    @property
    def p99(self) -> Number:
        """The 99 % quantile."""
        return self._shown_quantile("p99", 0.99)

    def get(self, statistic: str) -> Number:
        """The statistic of that name.

        :param statistic: one of :data:`~pytest_llmci.metrics.STATISTICS`.
        :raises UnknownNameError: if it is none of them.
        """
        if statistic not in STATISTICS:
            raise UnknownNameError.build("summary", "statistic", statistic, STATISTICS)
        found: Number = getattr(self, statistic)
        return found

    def numbers(self) -> dict[str, float]:
        """Statistic -> number, in the order of ``STATISTICS``, for those that the sample carries."""
        n, ordered = len(self.ordered), self.ordered
        if n == 0:
            return {"n": 0}
        least = ordered[0]
        if n == 1:  # by far the most frequent case in a wide matrix
            return {"n": 1, "min": least, "median": least, "mean": least, "max": least}
        if n >= QUANTILE_ROUNDS:
            return {name: getattr(self, name) for name in STATISTICS}
        if least == ordered[-1]:  # what is counted is often the same in every round
            return {"n": n, "min": least, "median": least, "mean": least, "std": 0.0, "max": least}
        mean = self._mean()
        return {
            "n": n,
            "min": least,
            "median": _middle(ordered),
            "mean": mean,
            "std": _deviation(ordered, mean),
            "max": ordered[-1],
        }

    def quantile(self, share: float) -> Number:
        """The quantile by linear interpolation between order statistics, however few there are.

        :param share: 0 to 1.
        :returns: for ``h = (n - 1) * share`` the point between the values number ``floor(h)`` and ``floor(h) + 1``,
            counted from 0.
        Source: Hyndman and Fan (1996), definition 7; the default of ``numpy.quantile``.
        """
        if not self.ordered:
            return self._nothing()
        position = (self.n - 1) * share
        below = math.floor(position)
        part = position - below
        low, high = self.ordered[below], self.ordered[min(below + 1, self.n - 1)]
        # From the nearer end, as numpy does: monotone, and exact where both ends are equal.
        return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)

    def _mean(self) -> float:
        mean = math.fsum(self.ordered) / self.n
        # The quotient is rounded: the mean of three equal values may miss them by the last digit.
        return min(max(mean, self.ordered[0]), self.ordered[-1])

    def _shown_quantile(self, name: str, share: float) -> Number:
        return self._too_few(name, QUANTILE_ROUNDS) if self.n < QUANTILE_ROUNDS else self.quantile(share)

    def _too_few(self, name: str, needed: int) -> Missing:
        return Missing(f"{name} needs {needed} rounds; {self.of} has {self.n}") if self.ordered else self._nothing()

    def _nothing(self) -> Missing:
        return Missing(self.reason or f"{self.of} has no measured round")


def _middle(ordered: Sequence[float]) -> float:
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if low == high else (low + high) / 2


def _deviation(values: Sequence[float], mean: float) -> float:
    return math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / (len(values) - 1))


def summarise(values: Sequence[float], *, of: str = "this cell", reason: str = "") -> Summary:
    """The statistics of a sample.

    :param values: finite numbers in any order and unit; the statistics come in the same unit.
    :param of: what the sample belongs to, for the reasons of what is missing.
    :param reason: why the sample is empty, if it is and the cause is known.
    :raises MeasurementError: if a value is not finite.
    """
    if not values:
        return _empty(of, reason)
    if not all(map(math.isfinite, values)):
        raise MeasurementError(f"a sample of {of} holds a value that is not finite; absent values must be left out.")
    return Summary(ordered=tuple(sorted(values)), of=of, reason=reason)


@lru_cache(maxsize=256)  # the same few reasons in model after model
def _empty(of: str, reason: str) -> Summary:
    return Summary(ordered=(), of=of, reason=reason)
