"""Variances of few rounds, steadied by those of the other cells.

The variance of five rounds is by chance several times too small in one cell of many, and that cell then looks certain.
Each variance is drawn towards the common one, the more so the more alike the cells' variances are: an empirical Bayes
estimate, whose prior weight (in degrees of freedom) comes from the data.

Source: Smyth 2004, Linear models and empirical Bayes methods, sections 3 and 6.2 (limma's ``fitFDist``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .location import FEW_VALUES

if TYPE_CHECKING:
    from .location import Floats

_LEAST_CELLS: Final = 3
"""Fewer say nothing about how alike variances are."""
_MOST_PRIOR_FREEDOM: Final = 60.0
_PRIOR_FREEDOM_OF_A_CELL: Final = 3.0
"""Few cells cannot prove that all are alike."""
_FEW_ROUNDS_PRIOR: Final = 3.0
"""Below five rounds the heavy tail of t is kept: winsorising cannot yet tell a stall from noise."""
_LEAST_VARIANCE: Final = 1e-8
"""Of the clock; equal values do not prove that there is no noise at all."""
_LEAST_SPREAD: Final = 1e-3


def moderated(variance: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Posterior variances and their degrees of freedom.

    :param variance: ``[cells]``, estimated independently of each other.
    :param freedom: ``[cells]``, at least 1.
    """
    import numpy as np
    from scipy.special import digamma, polygamma

    variance = np.maximum(variance, _LEAST_VARIANCE)
    count = variance.size
    if count < _LEAST_CELLS:
        return variance, freedom
    half = freedom / 2
    scores = np.log(variance) - digamma(half) + np.log(half)
    spread = max(float(scores.var(ddof=1) - polygamma(1, half).mean()), _LEAST_SPREAD)
    prior = min(2 * _inverse_trigamma(spread), _MOST_PRIOR_FREEDOM, _PRIOR_FREEDOM_OF_A_CELL * count)
    weight = np.where(freedom < FEW_VALUES - 1, min(prior, _FEW_ROUNDS_PRIOR), prior)
    common = np.exp(scores.mean() + digamma(weight / 2) - np.log(weight / 2))
    return (weight * common + freedom * variance) / (weight + freedom), weight + freedom


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value, by Newton's method on 1 / trigamma, which converges from below."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if -step < 1e-8 * x:
            break
    return x
