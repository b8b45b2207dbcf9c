from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from pytest_llmci.settings import MOST_SAMPLES
from pytest_llmci.stats.looks import SESSION_ALPHA
from pytest_llmci.stats.pass_rate import (
    boundaries,
    judge_passes,
    least_to_certify,
    needed_samples,
)


def drawn(rate: float, samples: int, sessions: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.asarray(np.random.default_rng(seed).random((sessions, samples)) < rate)


@pytest.mark.parametrize(("planned", "least"), [(5, 0.8), (20, 0.8), (50, 0.8), (50, 0.95), (100, 0.5)])
def test_at_the_limit_at_most_one_session_in_a_hundred_fails(planned: int, least: float) -> None:
    """Simulated with a fixed seed; the interval of the count is that of a rate of exactly 1 %."""
    sessions = 4000
    found = [
        judge_passes(row.tolist(), planned, least).verdict for row in drawn(least, planned, sessions, seed=planned)
    ]
    failed, certified = found.count("failed"), found.count("pass")
    assert failed <= binom.ppf(0.999, sessions, SESSION_ALPHA)
    assert certified <= binom.ppf(0.999, sessions, 0.05)
    if planned >= 20:
        assert failed >= 0.3 * SESSION_ALPHA * sessions  # the alpha is used


@pytest.mark.parametrize(
    ("planned", "rate", "failed", "passed"), [(20, 0.3, 0.98, 0.0), (50, 0.5, 0.97, 0.0), (50, 0.95, 0.0, 0.90), (100, 0.6, 0.96, 0.0)]
)  # fmt: skip
def test_what_is_far_from_the_limit_is_decided(planned: int, rate: float, failed: float, passed: float) -> None:
    found = [judge_passes(row.tolist(), planned, 0.8).verdict for row in drawn(rate, planned, 1000, seed=7)]
    assert found.count("failed") >= 1000 * failed
    assert found.count("pass") >= 1000 * passed


def test_a_hopeless_cell_stops_after_a_few_samples_and_a_sure_one_before_the_last() -> None:
    hopeless = judge_passes([False] * 100, 100, 0.8)
    assert (hopeless.verdict, hopeless.samples, hopeless.decided) == ("failed", 6, True)
    sure = judge_passes([True] * 100, 100, 0.8)
    assert (sure.verdict, sure.decided) == ("pass", True)
    assert least_to_certify(0.8) <= sure.samples <= 30
    assert sure.low >= 0.8


def test_too_few_samples_decide_nothing_and_say_how_many_would() -> None:
    found = judge_passes([True] * 5, 5, 0.8)
    assert (found.verdict, found.decided, needed_samples(1.0, 0.8)) == ("inconclusive", True, 14)
    assert judge_passes([True] * 14, 14, 0.8).verdict == "pass"
    assert judge_passes([True] * 3, 5, 0.8).decided is False
    worse = judge_passes([True, True, False, True, False], 5, 0.8)
    assert worse.verdict == "inconclusive"
    needed = needed_samples(0.6, 0.8)
    assert needed is not None
    outcomes = [round(0.6 * number) > round(0.6 * (number - 1)) for number in range(1, needed + 1)]
    assert judge_passes(outcomes, needed, 0.8).verdict == "failed"


def test_one_sample_that_does_not_pass_never_fails_a_cell() -> None:
    for planned in (1, 2, 50):
        assert judge_passes([False], planned, 0.995).verdict == "inconclusive"
    assert judge_passes([False, False], 50, 0.995).verdict == "failed"


def test_a_rate_of_one_wants_every_sample() -> None:
    found = judge_passes([True, True, False, True], 4, 1.0)
    assert (found.verdict, found.passed, found.samples, found.decided) == ("failed", 2, 3, True)
    assert judge_passes([True] * 3, 4, 1.0).verdict == "inconclusive"
    whole = judge_passes([True] * 4, 4, 1.0)
    assert (whole.verdict, whole.decided) == ("pass", True)


def test_what_comes_after_the_deciding_sample_is_not_looked_at() -> None:
    found = judge_passes([False] * 5 + [True] * 15, 20, 0.8)
    assert (found.verdict, found.samples, found.passed) == ("failed", 5, 0)


def test_the_limits_are_clopper_and_pearsons() -> None:
    found = judge_passes([True] * 12 + [False] * 3, 15, 0.8)
    assert found.verdict == "inconclusive"
    low = binomtest(12, 15, alternative="greater").proportion_ci(0.95, method="exact").low
    high = binomtest(12, 15, alternative="less").proportion_ci(0.99, method="exact").high
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
    assert found.p_value == pytest.approx(binom.cdf(12, 15, 0.8))


def test_a_smaller_share_of_alpha_takes_more_samples() -> None:
    alone, shared = (
        judge_passes([False] * 50, 50, 0.8, alpha=alpha).samples for alpha in (SESSION_ALPHA, SESSION_ALPHA / 50)
    )
    assert alone < shared


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 0.75, 0.9, 1.0])
def test_the_number_that_is_named_would_decide(share: float) -> None:
    needed = needed_samples(share, 0.8)
    assert needed is not None
    edges = boundaries(needed, 0.8)
    courses = [round(share * number) for number in range(1, needed + 1)]
    assert any(k <= low or k >= high for k, low, high in zip(courses, edges.fail, edges.certify, strict=True))


def test_on_the_limit_no_number_of_samples_would_decide() -> None:
    assert needed_samples(0.8, 0.8) is None
    assert needed_samples(0.7999, 0.8) is None


@pytest.mark.parametrize(
    ("outcomes", "planned", "least"), [([], 5, 0.8), ([True], 0, 0.8), ([True], MOST_SAMPLES + 1, 0.8), ([True], 5, 0.0), ([True], 5, 1.1)]
)  # fmt: skip
def test_nonsense_is_refused(outcomes: list[bool], planned: int, least: float) -> None:
    with pytest.raises(ValueError, match="samples"):
        judge_passes(outcomes, planned, least)
