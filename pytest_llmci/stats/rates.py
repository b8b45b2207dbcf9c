"""Success rates: at least 95 % of calls return valid JSON, say.

A failure is proof by the exact binomial test that the rate is lower than demanded; a pass is certified where Wilson's
lower limit reaches it. Comparing the observed share with the limit instead would fail every other build that lies on it.
Calls that repeat one prompt are alike, so that ten of them count for less than ten: see :func:`effective_count`.

Sources: Clopper and Pearson 1934; Wilson 1927; Wald 1945 (sequential test); Kish 1965 (design effect).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .looks import PASS_ERROR_LAST, SESSION_ALPHA

if TYPE_CHECKING:
    from .compare import GateVerdict

_SPRT_MISSED: Final = 0.05
"""How often the sequential test takes a bad rate for a good one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RateDecision:
    """What the calls so far say of a success rate."""

    verdict: GateVerdict
    """``regressed`` on proof, ``pass`` where the observed share reaches the rate, else ``inconclusive``."""
    successes: int
    calls: int
    p_value: float
    """Chance of so few successes, or fewer, at exactly the demanded rate."""
    lower: float
    """Wilson's lower limit of the rate, 95 %, one-sided."""
    upper: float
    certified: bool
    """Whether the lower limit reaches the rate: a pass that is proven, not only likely."""


def judge_rate(
    successes: int, calls: int, least: float, *, alpha: float = SESSION_ALPHA, effective: float | None = None
) -> RateDecision:
    """Judge ``success rate >= least``.

    :param least: the demanded rate, 0 to 1.
    :param effective: how many independent calls these are worth, of :func:`effective_count`; None where all of them.
    :raises ValueError: if there are no calls, more successes than calls, or a rate outside 0 to 1.

    >>> judge_rate(17, 20, 0.95).verdict, judge_rate(13, 20, 0.95).verdict
    ('inconclusive', 'regressed')
    """
    from scipy.special import bdtr

    if not 0 <= successes <= calls or calls < 1:
        raise ValueError(
            f"{successes} of {calls} calls succeeded: give at least one call and no more successes than calls"
        )
    if not 0 < least < 1:
        raise ValueError(f"rate {least:g}: give one between 0 and 1; for all of them count the failures")
    share, worth = successes / calls, calls if effective is None else max(1, math.floor(effective))
    # Rounded up: a part of a success must not turn into a failure.
    p = float(bdtr(min(math.ceil(share * worth - 1e-9), worth), worth, least))
    low, high = wilson_limits(share, worth)
    failed = share < least and p < alpha
    return RateDecision(
        verdict="regressed" if failed else "pass" if share >= least else "inconclusive",
        successes=successes,
        calls=calls,
        p_value=p,
        lower=low,
        upper=high,
        certified=low >= least,
    )


def wilson_limits(share: float, calls: float, error: float = PASS_ERROR_LAST) -> tuple[float, float]:
    """Wilson's limits of a rate, each of them missed in ``error`` of all cases.

    >>> low, high = wilson_limits(0.95, 100)
    >>> round(low, 3), round(high, 3)
    (0.901, 0.975)
    """
    from scipy.special import ndtri

    z = -float(ndtri(error))
    scale = 1 + z * z / calls
    centre = (share + z * z / (2 * calls)) / scale
    reach = z * math.sqrt(share * (1 - share) / calls + (z / (2 * calls)) ** 2) / scale
    return max(centre - reach, 0.0), min(centre + reach, 1.0)


def exact_upper_limit(events: int, trials: int, error: float = PASS_ERROR_LAST) -> float:
    """The rate that is exceeded, whatever it is, in at most ``error`` of all cases: Clopper and Pearson, one-sided.

    :raises ValueError: if there are no trials, or more events than trials.

    >>> round(exact_upper_limit(0, 10), 3), round(exact_upper_limit(0, 299), 4), exact_upper_limit(2, 2)
    (0.259, 0.01, 1.0)
    """
    from scipy.special import betaincinv

    if not 0 <= events <= trials or trials < 1:
        raise ValueError(f"{events} of {trials}: give at least one trial and no more events than trials")
    return 1.0 if events == trials else float(betaincinv(events + 1, trials - events, 1 - error))


def effective_count(calls: int, per_cluster: float, correlation: float) -> float:
    """How many independent calls correlated ones are worth: ``calls / (1 + (per_cluster - 1) * correlation)``.

    :param per_cluster: calls of one prompt, on average.
    :param correlation: between calls of one prompt, 0 to 1; see :func:`correlation_within`.
    :raises ValueError: if a number lies outside what it may be.
    """
    if not (per_cluster >= 1 and 0 <= correlation <= 1):
        raise ValueError(f"{per_cluster:g} calls a prompt, correlation {correlation:g}: give at least 1, and 0 to 1")
    return calls / (1 + (per_cluster - 1) * correlation)


def correlation_within(successes: Sequence[int], calls: Sequence[int]) -> float:
    """Correlation between calls of one prompt, by analysis of variance, never below zero.

    :param successes: of each prompt.
    :param calls: of each prompt, at least one.
    :raises ValueError: if the two are not of one length or a prompt has more successes than calls.
    Source: Fleiss, Statistical Methods for Rates and Proportions, the analysis of variance estimator of the intraclass
    correlation of a binary outcome.
    """
    if len(successes) != len(calls) or any(
        not 0 <= won <= n or n < 1 for won, n in zip(successes, calls, strict=False)
    ):
        raise ValueError("give for each prompt at least one call and no more successes than calls")
    count, total = len(calls), sum(calls)
    if count < 2 or total == count:
        return 0.0
    share = sum(successes) / total
    between = sum(n * (won / n - share) ** 2 for won, n in zip(successes, calls, strict=True)) / (count - 1)
    within = sum(won * (n - won) / n for won, n in zip(successes, calls, strict=True)) / (total - count)
    size = (total - sum(n * n for n in calls) / total) / (count - 1)
    spread = between + (size - 1) * within
    return min(max((between - within) / spread, 0.0), 1.0) if spread > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SequentialRate:
    """Wald's sequential test of a success rate: stops as soon as the calls have decided, mostly long before a fixed number.

    >>> test = SequentialRate(good=0.95, bad=0.80)
    >>> test.judge(0, 0), test.judge(18, 18), test.judge(5, 10)
    ('inconclusive', 'pass', 'regressed')
    """

    good: float
    """At this rate it fails in ``alpha`` of all cases."""
    bad: float
    """At this rate it passes in ``missed`` of all cases."""
    alpha: float = SESSION_ALPHA
    missed: float = _SPRT_MISSED

    def __post_init__(self) -> None:
        if not 0 < self.bad < self.good < 1:
            raise ValueError(f"bad={self.bad:g}, good={self.good:g}: give rates between 0 and 1, the bad one lower")

    def judge(self, successes: int, calls: int) -> GateVerdict:
        """What the calls so far say; ``inconclusive`` asks for the next one.

        :raises ValueError: if more succeeded than were called.
        """
        if not 0 <= successes <= calls:
            raise ValueError(f"{successes} of {calls} calls succeeded: give no more successes than calls")
        failures = calls - successes
        score = successes * math.log(self.bad / self.good) + failures * math.log((1 - self.bad) / (1 - self.good))
        if score >= math.log((1 - self.missed) / self.alpha):
            return "regressed"
        return "pass" if score <= math.log(self.missed / (1 - self.alpha)) else "inconclusive"
