import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.metrics import MetricDef
from pytest_llmci.stats.budget import judge_budget
from pytest_llmci.stats.budget_expression import Budget, Operator
from pytest_llmci.stats.looks import look_alpha

TIME = MetricDef(name="latency", unit="s", direction="lower", definition="")
RATE = MetricDef(name="tokens_per_s", unit="1/s", direction="higher", definition="")
STATISTICS = ("median", "mean", "p90", "p95", "p99", "min", "max")
ORDER = {"failed": 0, "inconclusive": 1, "pass": 2}

SAMPLES = st.lists(st.floats(0.01, 100.0), min_size=3, max_size=24)


def upper(statistic: str, limit: float) -> Budget:
    return Budget(text="", origin="", model_glob="*", metric=TIME, statistic=statistic, operator="<=", limit=limit)


def lower(statistic: str, limit: float, operator: Operator = ">=") -> Budget:
    return Budget(text="", origin="", model_glob="*", metric=RATE, statistic=statistic, operator=operator, limit=limit)


@given(SAMPLES, st.floats(0.02, 50.0), st.sampled_from(STATISTICS), st.integers(-20, 20), st.booleans())
def test_scaling(values: list[float], limit: float, statistic: str, power: int, last: bool) -> None:
    """Measuring in another unit (here: a power of two, which floating point scales exactly) decides nothing."""
    factor = 2.0**power
    one = judge_budget(values, upper(statistic, limit), last=last)
    other = judge_budget([value * factor for value in values], upper(statistic, limit * factor), last=last)
    assert (one.verdict, one.needs_more, one.certified) == (other.verdict, other.needs_more, other.certified)
    assert one.p_value == other.p_value


@given(SAMPLES, st.floats(0.02, 50.0), st.floats(1.0, 10.0), st.sampled_from(STATISTICS), st.booleans())
def test_monotone_in_the_limit(values: list[float], limit: float, more: float, statistic: str, last: bool) -> None:
    """What meets a limit meets every looser one."""
    tight = judge_budget(values, upper(statistic, limit), last=last)
    loose = judge_budget(values, upper(statistic, limit * more), last=last)
    assert ORDER[tight.verdict] <= ORDER[loose.verdict]


@given(st.lists(st.integers(-24, 24), min_size=3, max_size=23), st.integers(-20, 20), st.booleans())
def test_direction(exponents: list[int], limit: int, last: bool) -> None:
    """Seconds a token under a limit and tokens a second over its reciprocal are one budget."""
    values = [2.0 ** (exponent / 4) for exponent in exponents]
    bound = 2.0 ** (limit / 4 + 1 / 8)
    if len(values) % 2 == 0:
        values = values[:-1]  # the median of an even number of rounds is not its reciprocal's
    one = judge_budget(values, upper("median", bound), last=last)
    other = judge_budget([1 / value for value in values], lower("median", 1 / bound), last=last)
    assert one.verdict == other.verdict
    assert one.p_value == pytest.approx(other.p_value, rel=1e-6)


@given(SAMPLES, st.floats(0.02, 50.0), st.sampled_from(STATISTICS), st.randoms(use_true_random=False))
def test_order_of_rounds(values: list[float], limit: float, statistic: str, random: "np.random.Generator") -> None:
    """The order in which rounds were measured does not decide."""
    shuffled = list(values)
    random.shuffle(shuffled)
    one, other = judge_budget(values, upper(statistic, limit)), judge_budget(shuffled, upper(statistic, limit))
    assert (one.verdict, one.needs_more) == (other.verdict, other.needs_more)


@given(SAMPLES, st.floats(0.02, 50.0), st.sampled_from(STATISTICS))
def test_verdicts_agree_with_what_is_shown(values: list[float], limit: float, statistic: str) -> None:
    """A pass never shows a number beyond the limit, and a proven failure never one within it."""
    budget = upper(statistic, limit)
    decision = judge_budget(values, budget, last=True)
    if decision.observed is not None and statistic not in ("p90", "p95", "p99"):
        assert budget.is_met_by(decision.observed) == (decision.verdict == "pass")
    assert not decision.needs_more


# Error rates with fixed seeds. A binomial count of 2,000 sessions at 1 % lies under 34 with probability 0.999.
SESSIONS = 2000


def false_failures(statistic: str, looks: list[int], noise: float, *, outlier: bool) -> int:
    """Sessions of one budget exactly at its limit that fail, with as many looks at the growing sample as planned."""
    rng = np.random.default_rng(20)
    failed = 0
    quantile = {"p90": 1.2815515655446004, "p95": 1.6448536269514722}.get(statistic, 0.0)
    budget = upper(statistic, 2.0)
    for _ in range(SESSIONS):
        values = 2.0 * np.exp(noise * (rng.standard_normal(looks[-1]) - quantile))
        if outlier:
            values[rng.integers(looks[0])] *= 10
        for number, n in enumerate(looks):
            last = n == looks[-1]
            found = judge_budget(list(values[:n]), budget, alpha=0.01 * look_alpha(number, len(looks)), last=last)
            if found.verdict == "failed":
                failed += 1
            if not found.needs_more:
                break
    return failed


@pytest.mark.parametrize("looks", [[3], [5], [10], [5, 10, 15, 20]], ids=str)
@pytest.mark.parametrize("noise", [0.03, 0.3])
@pytest.mark.parametrize("outlier", [False, True])
def test_false_failures_of_a_median_at_the_limit(looks: list[int], noise: float, outlier: bool) -> None:
    """At most 1 % of the sessions fail whose true median lies exactly on the limit, one round 10 times too slow or not."""
    assert false_failures("median", looks, noise, outlier=outlier) < 34


@pytest.mark.parametrize("statistic", ["p90", "p95"])
def test_false_failures_of_a_quantile_at_the_limit(statistic: str) -> None:
    """At most 1 % of the sessions fail whose true quantile lies exactly on the limit, all looks together."""
    assert false_failures(statistic, [5, 10, 15, 20], 0.1, outlier=False) < 34


def test_power_with_an_outlier() -> None:
    """A median 15 % over its limit at 3 % noise is found within twenty rounds although one round stalled."""
    rng = np.random.default_rng(21)
    found = 0
    for _ in range(200):
        values = 2.3 * np.exp(0.03 * rng.standard_normal(20))
        values[rng.integers(20)] *= 10
        found += judge_budget(list(values), upper("median", 2.0), alpha=0.0045, last=True).verdict == "failed"
    assert found == 200
