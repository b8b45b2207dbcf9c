import random

import pytest

from pytest_llmci.stats.rates import (
    SequentialRate,
    correlation_within,
    effective_count,
    exact_upper_limit,
    judge_rate,
    wilson_limits,
)


@pytest.mark.parametrize(
    ("successes", "calls", "verdict", "certified"),
    [
        (20, 20, "pass", False),  # 20 calls cannot certify 95 %
        (60, 60, "pass", True),
        (19, 20, "pass", False),
        (16, 20, "inconclusive", False),  # p = 1.6 %
        (15, 20, "regressed", False),  # p = 0.3 %
    ],
)
def test_exact_binomial(successes: int, calls: int, verdict: str, certified: bool) -> None:
    found = judge_rate(successes, calls, 0.95)
    assert (found.verdict, found.certified) == (verdict, certified)


def test_p_value_by_hand() -> None:
    assert judge_rate(1, 2, 0.9).p_value == pytest.approx(1 - 0.81)
    assert judge_rate(2, 2, 0.9).p_value == pytest.approx(1.0)


def test_correlated_calls_are_worth_fewer() -> None:
    assert judge_rate(42, 50, 0.95).verdict == "regressed"
    found = judge_rate(42, 50, 0.95, effective=effective_count(50, 5, 0.2))
    assert found.verdict == "inconclusive"
    assert found.lower < judge_rate(42, 50, 0.95).lower
    assert effective_count(50, 5, 0.2) == pytest.approx(50 / 1.8)
    assert effective_count(50, 1, 0.9) == 50
    assert judge_rate(20, 20, 0.95, effective=12.9).p_value == 1.0


def test_wilson_by_the_book() -> None:
    # Newcombe 1998, table I: 81 of 263, 95 % two-sided
    assert wilson_limits(81 / 263, 263, 0.025) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_limits(1.0, 10)[1] == 1.0
    assert wilson_limits(0.0, 10)[0] == 0.0


def test_correlation_within_prompts() -> None:
    assert correlation_within([5, 0, 5, 0], [5, 5, 5, 5]) == pytest.approx(1.0)
    assert correlation_within([4, 4, 4, 4], [5, 5, 5, 5]) == 0.0
    assert correlation_within([5, 5], [5, 5]) == 0.0
    assert correlation_within([1, 0], [1, 1]) == 0.0
    assert correlation_within([5], [5]) == 0.0
    rng = random.Random(3)
    prompts = [rng.betavariate(2.0, 2.0) for _ in range(2000)]  # correlation 1 / (1 + 2 + 2)
    won = [sum(rng.random() < share for _ in range(6)) for share in prompts]
    assert correlation_within(won, [6] * 2000) == pytest.approx(0.2, abs=0.03)


def test_the_sequential_test_stops_early_and_errs_as_stated() -> None:
    rng, test = random.Random(5), SequentialRate(good=0.95, bad=0.80)

    def run(rate: float) -> tuple[str, int]:
        won = calls = 0
        while (verdict := test.judge(won, calls)) == "inconclusive":
            calls, won = calls + 1, won + (rng.random() < rate)
        return verdict, calls

    good, bad = [run(0.95) for _ in range(1000)], [run(0.80) for _ in range(1000)]
    assert sum(verdict == "regressed" for verdict, _ in good) <= 20
    assert sum(verdict == "pass" for verdict, _ in bad) <= 80
    assert sum(calls for _, calls in good) / 1000 < 40


@pytest.mark.parametrize(("successes", "calls"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts(successes: int, calls: int) -> None:
    with pytest.raises(ValueError, match="calls succeeded"):
        judge_rate(successes, calls, 0.9)


def test_impossible_rates() -> None:
    with pytest.raises(ValueError, match="give one between 0 and 1"):
        judge_rate(1, 1, 1.0)
    with pytest.raises(ValueError, match="the bad one lower"):
        SequentialRate(good=0.8, bad=0.9)
    with pytest.raises(ValueError, match="no more successes than calls"):
        SequentialRate(good=0.9, bad=0.8).judge(2, 1)
    with pytest.raises(ValueError, match="correlation 2"):
        effective_count(10, 2, 2.0)
    with pytest.raises(ValueError, match="no more successes than calls"):
        correlation_within([2], [1])


@pytest.mark.parametrize(
    ("events", "trials", "limit"), [(0, 1, 0.95), (0, 299, 0.00997), (1, 10, 0.3942), (10, 10, 1.0)]
)
def test_the_exact_limit_of_a_rate(events: int, trials: int, limit: float) -> None:
    assert exact_upper_limit(events, trials) == pytest.approx(limit, abs=1e-4)


@pytest.mark.parametrize(("events", "trials"), [(0, 0), (2, 1), (-1, 1)])
def test_no_rate_without_trials(events: int, trials: int) -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        exact_upper_limit(events, trials)
