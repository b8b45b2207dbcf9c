"""Robust location and scale of one sample, and the one-sided test of its location.

The sample is on the scale on which noise adds: logarithms of times and rates.

- location: Hodges-Lehmann estimate (median of all pairwise means), the median below five values, as Hodges-Lehmann
  breaks down at 29 % contamination and one stall in three rounds would move it;
- scale: variance of the residuals, winsorised at 2.5 MAD, so that a stall has a bounded influence;
- squared standard error: ``(1.10 + 2 / n) * variance / n``; 1.10 is the price of Hodges-Lehmann and winsorising, 1.57
  (pi / 2) that of the median, and ``2 / n`` a small-sample correction, both fitted to pairs of unchanged programs.

Sources: Hodges and Lehmann 1963; Huber, Robust Statistics, chapter 1; Tukey and McLaughlin 1963 (winsorised variance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

LEAST_VALUES: Final = 3
"""Fewer values cannot tell noise from effect."""
FEW_VALUES: Final = 5
"""Below so many neither Hodges-Lehmann nor winsorising can tell a stall from noise."""
WINSORISE_AT_MAD: Final = 2.5
_MAD_TO_SD: Final = 1.4826  # of a normal distribution
LEAST_SD: Final = 1e-4  # relative; equal values do not prove that there is no noise at all
_AGREEMENT_LEVEL: Final = 0.05


def row_median(values: Floats) -> Floats:
    """The median over the last axis: what ``numpy.median`` gives for finite values, without what it spends on all others.

    :param values: ``[..., n]``, at least one, all finite.
    :returns: ``[...]``.
    """
    import numpy as np

    low, high = (values.shape[-1] - 1) // 2, values.shape[-1] // 2
    halves = np.partition(values, (low, high), axis=-1)
    return np.asarray(halves[..., high] if low == high else (halves[..., low] + halves[..., high]) / 2)


def hodges_lehmann(values: Floats) -> Floats:
    """Median of the means of all pairs, each value paired with itself too.

    :param values: ``[..., n]``.
    :returns: ``[...]``, in the unit of the values.
    """
    import numpy as np

    first, second = np.triu_indices(values.shape[-1])
    return row_median((values[..., first] + values[..., second]) * 0.5)


def hodges_lehmann_shift(base: Floats, candidate: Floats) -> Floats:
    """Median of all differences between a value of the candidate and one of the base: by how much the one lies higher.

    :param base: ``[..., n]``.
    :param candidate: ``[..., m]``.
    :returns: ``[...]``, in the unit of the values.
    """

    differences = candidate[..., :, None] - base[..., None, :]
    return row_median(differences.reshape(*base.shape[:-1], -1))


def median_absolute_deviation(values: Floats) -> Floats:
    """Median distance from the median, scaled to the standard deviation of a normal distribution.

    :param values: ``[..., n]``.
    :returns: ``[...]``, in the unit of the values.
    """
    import numpy as np

    return np.asarray(_MAD_TO_SD * row_median(np.abs(values - row_median(values)[..., None])))


def robust_location(values: Floats) -> Floats:
    """Hodges-Lehmann estimate, or the median of fewer than five values.

    :param values: ``[..., n]``.
    :returns: ``[...]``, in the unit of the values.
    """

    if values.shape[-1] < FEW_VALUES:
        return row_median(values)
    return hodges_lehmann(values)


def residual_variance(values: Floats, location: Floats, clip: Floats | None = None) -> Floats:
    """Mean squared residual with ``n - 1`` degrees of freedom.

    :param values: ``[..., n]``, at least two.
    :param location: ``[...]``.
    :param clip: ``[...]``, the size at which residuals are winsorised; None leaves them as they are.
    :returns: ``[...]``, in the squared unit of the values.
    """
    import numpy as np

    residuals = values - location[..., None]
    if clip is not None:
        residuals = np.clip(residuals, -clip[..., None], clip[..., None])
    return np.asarray((residuals**2).sum(axis=-1) / (values.shape[-1] - 1))


@overload
def location_variance(variance: float, n: int) -> float: ...
@overload
def location_variance(variance: Floats, n: int) -> Floats: ...
def location_variance(variance: float | Floats, n: int) -> float | Floats:
    """Sampling variance of :func:`robust_location` of ``n`` values.

    :param variance: of one value, by :func:`residual_variance`.
    """
    return ((1.10 if n >= FEW_VALUES else 1.57) + 2.0 / n) * variance / n


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """Where a sample lies and how well that is known."""

    n: int
    estimate: float
    """In the unit of the values."""
    standard_error: float
    """From all residuals as they are: the sharper one where there is no outlier. ``n - 1`` degrees of freedom."""
    robust_standard_error: float | None
    """From winsorised residuals, ``(n - 1) / 2`` degrees of freedom; None below five values or where most are equal."""
    above: int
    """How many values are greater than zero."""


def locate(values: Sequence[float] | Floats, *, least_sd: float = LEAST_SD) -> Location:
    """Location and standard errors of one sample.

    :param values: finite numbers, at least two.
    :param least_sd: no standard deviation is taken to be smaller.
    """
    import numpy as np

    sample = np.asarray(values, dtype=np.float64)
    n = sample.shape[-1]
    place, mad = robust_location(sample), median_absolute_deviation(sample)
    robust = n >= FEW_VALUES

    def error(variance: Floats) -> float:
        return float(np.sqrt(location_variance(max(float(variance), least_sd**2), n)))

    # Below five values the MAD is the gap between two neighbours, and with ties it is zero: neither is a scale.
    usable = robust and float(mad) > 0
    return Location(
        n=n,
        estimate=float(place),
        standard_error=error(residual_variance(sample, place)),
        robust_standard_error=error(residual_variance(sample, place, WINSORISE_AT_MAD * mad)) if usable else None,
        above=int((sample > 0).sum()),
    )


def p_above_zero(location: Location) -> float:
    """One-sided p-value of "the location is zero or less".

    The smaller of two t tests, and 1 unless most values agree.

    - With the plain standard error and ``n - 1`` degrees of freedom: sharp from the first rounds, blunt as soon as
      there is an outlier.
    - With the winsorised one and ``(n - 1) / 2``: an outlier hardly matters. A winsorised variance of few values is by
      chance far too small more often than a plain one, as half of the values lying close together is enough; ``n - 1``
      would give up to 30 times the stated error at p = 1e-5 and n = 5.
    - A sign test at 5 % (all values, where fewer than five) must agree, as Hodges-Lehmann alone follows a third of wild
      values.

    Simulated error rates at levels 5 % to 1e-5 and n = 5 to 20, with 1e6 samples each: at most the level for normal and
    t(3) noise, with and without one gross outlier, for right-skewed noise, and for 10 and 20 % of stalled rounds; up to
    4 times the level for uniform noise at 1e-5. Noise with two states of equal weight and nothing between them is the
    known exception: there no test of five values that can decide at all keeps its level.
    """
    from scipy.special import stdtr

    if location.n < LEAST_VALUES or location.above < agreement_needed(location.n):
        return 1.0
    p = float(stdtr(location.n - 1, -_ratio(location.estimate, location.standard_error)))
    if location.robust_standard_error is not None:
        p = min(p, float(stdtr((location.n - 1) / 2, -_ratio(location.estimate, location.robust_standard_error))))
    return p


def _ratio(estimate: float, error: float) -> float:
    if error > 0:
        return estimate / error
    return float("inf") if estimate > 0 else float("-inf")


def agreement_needed(n: int) -> int:
    """How many of ``n`` values must lie on one side before the sample may be said to lie there: a sign test at 5 %.

    >>> [agreement_needed(n) for n in (3, 5, 10, 20)]
    [3, 5, 9, 15]
    """
    from scipy.special import bdtrc

    return next((count for count in range(1, n) if float(bdtrc(count - 1, n, 0.5)) <= _AGREEMENT_LEVEL), n)
