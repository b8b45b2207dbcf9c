"""Quartiles, fences and outliers of a sample as pytest-benchmark defines them, for the files that its readers share.

Everywhere else quantiles are those of :mod:`~pytest_llmci.stats.summary`; the two differ where a quartile falls between values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Quartiles:
    """In the unit of the sample."""

    q1: float
    q3: float
    iqr: float
    """``q3 - q1``."""
    low: float
    """The least value within 1.5 ``iqr`` below ``q1``."""
    high: float
    """The greatest value within 1.5 ``iqr`` above ``q3``."""
    outliers: int
    """Values beyond these fences."""


def quartiles(ordered: Sequence[float]) -> Quartiles:
    """The quartiles of a sample.

    :param ordered: at least one finite value, ascending.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 50.0])
    Quartiles(q1=1.75, q3=15.5, iqr=13.75, low=1.0, high=4.0, outliers=1)

    Source: methods 2 (even) and 3 (odd number of values) of https://en.wikipedia.org/wiki/Quartile#Computing_methods.
    """
    q1 = _first_quartile(ordered)
    q3 = -_first_quartile([-value for value in reversed(ordered)])
    iqr = q3 - q1
    inside = [value for value in ordered if q1 - 1.5 * iqr <= value <= q3 + 1.5 * iqr]
    return Quartiles(q1=q1, q3=q3, iqr=iqr, low=inside[0], high=inside[-1], outliers=len(ordered) - len(inside))


def _first_quartile(ordered: Sequence[float]) -> float:
    n, rest = divmod(len(ordered), 4)
    if len(ordered) == 1:
        return ordered[0]
    if rest == 1:
        return 0.25 * ordered[n - 1] + 0.75 * ordered[n]
    if rest == 3:
        return 0.75 * ordered[n] + 0.25 * ordered[n + 1]
    half = len(ordered) // 2
    return (ordered[(half - 1) // 2] + ordered[half // 2]) / 2
