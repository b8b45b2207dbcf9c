"""Judging a budget on the rounds of one cell.

Three ways, by what the number is:

- **direct**: deterministic metrics, metrics with one value a process start, ``min`` and ``max`` compare as they stand;
- **centre** (median, mean of what varies from round to round): a one-sided one-sample test of ``log(value / limit)`` by
  :mod:`~pytest_llmci.stats.location`, so that a far-off cell is decided by its first rounds and one outlier never
  decides;
- **quantile**: the number of rounds beyond the limit against the exact binomial distribution.

False failures of all tested budgets of a session together stay under :data:`SESSION_ALPHA`: each gets an equal share
(Bonferroni), spent over the planned looks at the growing sample. Both bounds hold whatever the dependence between cells
or looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..records import Verdict
from ..units import format_quantity
from .budget_expression import QUANTILES, Budget
from .location import LEAST_VALUES, locate, p_above_zero
from .looks import PASS_ERROR_EARLY, PASS_ERROR_LAST, SESSION_ALPHA
from .summary import QUANTILE_ROUNDS

if TYPE_CHECKING:
    from .location import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What the rounds so far say of one budget."""

    verdict: Verdict
    observed: float | None
    """The statistic, SI; None where it is missing."""
    reason: str
    """How it was decided or why it could not be, in plain words, without the name of the metric."""
    rounds: int
    """Values that were judged."""
    p_value: float | None = None
    """Chance of rounds that speak so strongly against a cell on the limit; None where numbers compare directly."""
    needs_more: bool = False
    """True where further rounds may change or certify the verdict."""
    certified: bool = False
    """True for a pass that is proven, not only likely."""


def exceedances_to_fail(rounds: int, bad_share: float, alpha: float = SESSION_ALPHA) -> int | None:
    """How many rounds beyond the limit prove that more than ``bad_share`` of all requests are: exact binomial.

    :param bad_share: allowed share of requests beyond the limit: 0.05 for ``p95 <= L``.
    :returns: at least 2, as one outlier never fails a build; None where so few rounds can prove nothing.

    >>> [exceedances_to_fail(n, 0.05) for n in (1, 2, 5, 10, 20, 60)]
    [None, 2, 3, 4, 5, 8]
    """
    return next((count for count in range(2, rounds + 1) if _proves(_at_least(count, rounds, bad_share), alpha)), None)


def rounds_to_certify(bad_share: float, error: float = PASS_ERROR_LAST) -> int:
    """Rounds without a single one beyond the limit that certify a quantile.

    >>> [rounds_to_certify(share) for share in (0.10, 0.05, 0.01)]
    [29, 59, 299]
    """
    return math.floor(math.log(error) / math.log1p(-bad_share)) + 1


def _at_least(count: int, n: int, share: float) -> float:
    """P(Bin(n, share) >= count)."""
    from scipy.special import bdtrc

    return 1.0 if count <= 0 else float(bdtrc(count - 1, n, share))


def _proves(p: float, alpha: float) -> bool:
    """P-values of counts can equal alpha (0.1 * 0.1 and 1 %), where the last digit of a float must not decide."""
    return p <= alpha * (1 + 1e-9)


def judge_budget(
    values: Sequence[float | None],
    budget: Budget,
    *,
    alpha: float = SESSION_ALPHA,
    last: bool = False,
    missing: str = "",
) -> Decision:
    """Judge one budget of one cell.

    :param values: every round so far in the order of measuring, SI; None where it could not be measured. For a metric
        with one value a process start, those values.
    :param alpha: chance of a false failure at this look: :data:`SESSION_ALPHA` over the number of (cell, budget) pairs
        of the session with :attr:`Budget.statistical`, times :func:`look_alpha`.
    :param last: True where no further rounds can come: a pass is then certified at 5 instead of 1 % error.
    :param missing: why a None could not be measured.
    :returns: ``failed`` only on proof or missing data, ``pass`` only where the observed statistic meets the limit, else
        ``inconclusive``. Where ``needs_more`` is set the verdict is the one that holds if measuring stops here.
    """
    unusable = _unusable(values, budget, missing)
    if unusable:
        return Decision(verdict="failed", observed=None, reason=unusable, rounds=len(values))
    import numpy as np

    sample = np.asarray(values, dtype=np.float64)
    if not budget.statistical:
        return _direct(sample, budget)
    if budget.statistic in QUANTILES:
        return _quantile(sample, budget, alpha, last)
    return _centre(sample, budget, alpha, last)


def _unusable(values: Sequence[float | None], budget: Budget, missing: str) -> str:
    """Why nothing can be judged: missing or impossible data is never a pass. Empty if something can."""
    n, absent = len(values), sum(value is None for value in values)
    why = missing.rstrip(".")
    if n == 0:
        return f"missing: {why or 'no round was measured'}"
    if absent:
        return f"missing{'' if absent == n else f' in {absent} of {n} rounds'}: {why or 'it could not be measured'}"
    for number, value in enumerate(values, 1):
        if value is not None and not _is_possible(value, budget):
            return f"round {number} measured {value:g}, which no {budget.metric.name} can be"
    return ""


def _is_possible(value: float, budget: Budget) -> bool:
    """A negative duration or rate is a fault of the measurement, and would make an upper limit pass."""
    signed = budget.metric.deterministic or budget.metric.unit not in ("s", "1/s", "B/s", "B")
    return math.isfinite(value) and (signed or value >= 0)


def _direct(sample: Floats, budget: Budget) -> Decision:
    observed = _observed(sample, budget)
    met = budget.is_met_by(observed)
    return Decision(
        verdict="pass" if met else "failed",
        observed=observed,
        reason=_stated(sample, observed, budget),
        rounds=sample.size,
        certified=met,
    )


def _observed(sample: Floats, budget: Budget) -> float:
    import numpy as np

    if budget.operator == "==" and budget.statistic == "max":
        # equality means every round, not only the largest
        return float(sample[np.argmax(np.abs(sample - budget.limit))])
    if budget.statistic in QUANTILES:
        return float(np.quantile(sample, QUANTILES[budget.statistic]))
    if budget.statistic in ("min", "max"):
        return float(sample.min() if budget.statistic == "min" else sample.max())
    return float(np.median(sample) if budget.statistic == "median" else np.mean(sample))


def _centre(sample: Floats, budget: Budget, alpha: float, last: bool) -> Decision:
    observed = _observed(sample, budget)
    met, stated = budget.is_met_by(observed), _stated(sample, observed, budget)
    if sample.size < LEAST_VALUES:
        more = ": allow more (--llmci-max-rounds)" if last else ""
        reason = f"{stated}; fewer than {LEAST_VALUES} rounds decide nothing{more}"
        return Decision(
            verdict="inconclusive", observed=observed, reason=reason, rounds=sample.size, needs_more=not last
        )
    excess = _excess(sample, budget)
    p_bad, p_good = p_above_zero(locate(excess)), p_above_zero(locate(-excess))
    failed = not met and p_bad < alpha
    certified = met and p_good < (PASS_ERROR_LAST if last else PASS_ERROR_EARLY)
    if failed:
        reason = f"{stated} ({_odds(p_bad)} by chance)"
    elif certified:
        reason = f"{stated}, certified"
    else:
        doubt = "not certified: the" if met else "not proven: the"
        reason = f"{stated}; {doubt} rounds vary too much to tell it from the limit"
    return Decision(
        verdict="failed" if failed else "pass" if met else "inconclusive",
        observed=observed,
        reason=reason,
        rounds=sample.size,
        p_value=p_bad,
        needs_more=not (failed or certified or last),
        certified=certified,
    )


def _excess(sample: Floats, budget: Budget) -> Floats:
    """How far each round lies beyond the limit: positive is bad.

    Logarithms, as the noise of times and rates is multiplicative. Zero (of a rate: no token at all; of a waiting time:
    none) has no logarithm, and limits of zero have no ratio: there differences are tested, in units of the limit.
    """
    import numpy as np

    sign = 1.0 if budget.is_upper else -1.0
    if budget.limit > 0 and float(sample.min()) > 0:
        return np.asarray(sign * np.log(sample / budget.limit))
    return np.asarray(sign * (sample - budget.limit) / (abs(budget.limit) or 1.0))


def _quantile(sample: Floats, budget: Budget, alpha: float, last: bool) -> Decision:
    """Count the rounds beyond the limit.

    "p95 <= L" allows 5 % of requests beyond L. "p95 >= L" says that at least 5 % reach L, so 95 % may lie below.
    """
    n, quantile = sample.size, QUANTILES[budget.statistic]
    bad_share = 1 - quantile if budget.is_upper else quantile
    bad = sum(not budget.is_met_by(float(value)) for value in sample)
    p = _at_least(bad, n, bad_share)
    failed = bad >= 2 and _proves(p, alpha)
    certified = 1 - _at_least(bad + 1, n, bad_share) < PASS_ERROR_LAST
    met = bad <= n * bad_share + 1e-9  # 0.1 * 20 is more than 20 * (1 - 0.9)
    stated = f"{bad} of {n} round{'' if n == 1 else 's'} {_beyond(budget)} {_limit(budget)}"
    if failed:
        reason = f"{stated} ({_odds(p)} by chance)"
    elif certified:
        reason = f"{stated}, certified"
    elif met:
        needed = rounds_to_certify(bad_share)
        reason = f"{stated}; not certified: {budget.statistic} takes {needed} rounds with none {_beyond(budget)} it"
    else:
        reason = f"{stated}; more than {bad_share:.0%}, but too few to prove it"
    return Decision(
        verdict="failed" if failed else "pass" if met else "inconclusive",
        # with fewer rounds it is shown as missing, which does not keep its budget from being judged
        observed=_observed(sample, budget) if n >= QUANTILE_ROUNDS else None,
        reason=reason,
        rounds=n,
        p_value=p,
        needs_more=not (failed or certified or last),
        certified=certified and not failed,
    )


def _stated(sample: Floats, observed: float, budget: Budget) -> str:
    """``median of 5 rounds: 2.41 s is over 2 s``, with as many digits as it takes to tell the two apart."""
    met = budget.is_met_by(observed)
    shown, limit = format_quantity(observed, budget.metric.unit), _limit(budget)
    if shown == limit and observed != budget.limit:
        shown, limit = (f"{value:.9g} {budget.metric.unit}" for value in (observed, budget.limit))
    what = "process start" if budget.metric.scope == "worker" else "round"
    relation = f"meets {budget.operator}" if met else f"is {_beyond(budget)}"
    return f"{budget.statistic} of {sample.size} {what}{'' if sample.size == 1 else 's'}: {shown} {relation} {limit}"


def _beyond(budget: Budget) -> str:
    return {"<=": "over", "<": "not under", ">=": "under", ">": "not over", "==": "not"}[budget.operator]


def _limit(budget: Budget) -> str:
    return format_quantity(budget.limit, budget.metric.unit)


def _odds(p: float) -> str:
    """
    >>> _odds(0.0043), _odds(2e-9)
    ('0.43 %', 'under 0.0001 %')
    """
    return "under 0.0001 %" if p < 1e-6 else f"{100 * p:.2g} %"
