"""How well the mean of a model is known, and how two quantities of models go together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .location import Floats
    from .samples import Ints

LEVEL: Final = 0.95
LEAST_PAIRS: Final = 3
"""Pairs below which a correlation says nothing: any two points lie on a line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanInterval:
    """In the unit of the values."""

    n: int
    mean: float
    low: float | None
    """None where the noise cannot be told from one value a part."""
    high: float | None


def mean_interval(values: Floats, parts: Ints, level: float = LEVEL) -> MeanInterval:
    """The mean over rounds of several prompts, and its t interval for these very prompts.

    Prompts are no sample of anything: only the spread of the rounds within each of them makes the mean uncertain. With
    shares ``w`` of the parts, the squared standard error is ``sum(w^2 s^2 / n)``, its degrees of freedom are Satterthwaite's.

    :param values: at least one, finite.
    :param parts: the number of the part (prompt) that each value belongs to, from 0.
    :returns: without an interval where a part has one value only.
    Source: Cochran, Sampling Techniques, 5.3 (stratified means); Satterthwaite 1946.
    """
    import numpy as np
    from scipy.special import stdtrit

    total = len(values)
    mean = float(values.mean())
    counts = np.bincount(parts)
    sums = np.bincount(parts, weights=values)
    used = counts > 0
    if (counts[used] < 2).any():
        return MeanInterval(n=total, mean=mean, low=None, high=None)
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=used)
    squares = np.bincount(parts, weights=(values - means[parts]) ** 2)[used]
    n = counts[used]
    each = (n / total) ** 2 * squares / (n - 1) / n
    variance = float(each.sum())
    if variance <= 0:
        return MeanInterval(n=total, mean=mean, low=mean, high=mean)
    freedom = variance**2 / float((each**2 / (n - 1)).sum())
    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance)
    return MeanInterval(n=total, mean=mean, low=mean - half, high=mean + half)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCorrelation:
    """Of two columns."""

    n: int
    """Rows that have both."""
    r: float | None
    """Pearson's r; None with fewer rows than :data:`LEAST_PAIRS`, or where one column is constant."""


def pearson(one: Floats, other: Floats) -> PairCorrelation:
    """The correlation of two columns of equal length, over the rows in which neither is NaN."""
    import numpy as np

    both = np.isfinite(one) & np.isfinite(other)
    n = int(both.sum())
    if n < LEAST_PAIRS:
        return PairCorrelation(n=n, r=None)
    x, y = one[both] - one[both].mean(), other[both] - other[both].mean()
    size = math.sqrt(float((x**2).sum()) * float((y**2).sum()))
    # What is constant but for rounding is constant.
    flat = any(float(np.ptp(column[both])) <= 1e-12 * float(np.abs(column[both]).max()) for column in (one, other))
    return PairCorrelation(n=n, r=None if flat or size <= 0 else max(-1.0, min(1.0, float((x * y).sum()) / size)))


def pareto_front(costs: Floats, gains: Floats) -> list[int]:
    """The points that no other one beats: of those with more gain every one costs more. Equal points stand together.

    :param costs: less is better.
    :param gains: more is better; the same length, no NaN in either.
    :returns: positions by rising cost.
    """
    import numpy as np

    front: list[int] = []
    best = -math.inf
    order = np.lexsort((-gains, costs))
    for place in map(int, order):
        equal = front and costs[place] == costs[front[-1]] and gains[place] == gains[front[-1]]
        if gains[place] > best or equal:
            front.append(place)
            best = float(gains[place])
    return front
