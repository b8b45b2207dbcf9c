"""The rule of sampled outputs: exact error rates, whatever the number of samples, the rate and alpha."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pytest_llmci.stats.looks import PASS_ERROR_LAST
from pytest_llmci.stats.pass_rate import boundaries, judge_passes

RATES = st.floats(0.05, 0.99)
ALPHAS = st.sampled_from([0.01, 0.005, 0.001, 1e-5])


def chances(planned: int, least: float, alpha: float, rate: float) -> tuple[float, float, float]:
    """Exact chances of failing, certifying and neither at a true rate, by walking all courses one by one."""
    edges = boundaries(planned, least, alpha)
    alive, failed, certified = {0: 1.0}, 0.0, 0.0
    for low, high in zip(edges.fail, edges.certify, strict=True):
        after: dict[int, float] = {}
        for passed, chance in alive.items():
            after[passed] = after.get(passed, 0.0) + chance * (1 - rate)
            after[passed + 1] = after.get(passed + 1, 0.0) + chance * rate
        failed += sum(chance for passed, chance in after.items() if passed <= low)
        certified += sum(chance for passed, chance in after.items() if passed >= high)
        alive = {passed: chance for passed, chance in after.items() if low < passed < high}
    return failed, certified, sum(alive.values())


@given(planned=st.integers(1, 80), least=RATES, alpha=ALPHAS)
def test_at_the_limit_and_above_a_failure_has_a_chance_of_at_most_alpha(
    planned: int, least: float, alpha: float
) -> None:
    """With the rate at the limit or better, P(failed) <= alpha over all looks; at the limit or worse, P(pass) <= 5 %."""
    for rate in (least, (least + 1) / 2, 1.0):
        assert chances(planned, least, alpha, rate)[0] <= alpha * (1 + 1e-6)
    for rate in (least, least / 2, 0.0):
        assert chances(planned, least, alpha, rate)[1] <= PASS_ERROR_LAST * (1 + 1e-6)


@given(planned=st.integers(1, 80), least=RATES, alpha=ALPHAS)
def test_the_boundaries_leave_a_region_between_them(planned: int, least: float, alpha: float) -> None:
    """Each look's region of going on is an interval, and the number of passes grows by one at most: boundaries never cross."""
    edges = boundaries(planned, least, alpha)
    assert len(edges.fail) == len(edges.certify) == planned
    assert all(low < high for low, high in zip(edges.fail, edges.certify, strict=True))
    assert all(0 <= step <= 1 for step in np.diff(edges.fail).tolist())


@given(outcomes=st.lists(st.booleans(), min_size=1, max_size=60), least=RATES, alpha=ALPHAS)
def test_a_verdict_agrees_with_the_plain_binomial_test(outcomes: list[bool], least: float, alpha: float) -> None:
    """What is decided is decided also by the exact test of the samples at hand, and by the limits that are shown."""
    found = judge_passes(outcomes, len(outcomes), least, alpha=alpha)
    n, k = found.samples, found.passed
    assert 0 <= found.low <= k / n <= found.high <= 1
    if found.verdict == "failed":
        assert binom.cdf(k, n, least) <= alpha * (1 + 1e-6)
        assert found.high <= least + 1e-6
        assert n - k >= 2
    if found.verdict == "pass":
        assert binom.sf(k - 1, n, least) <= PASS_ERROR_LAST * (1 + 1e-6)
        assert found.low >= least - 1e-6


@given(outcomes=st.lists(st.booleans(), min_size=2, max_size=60), least=RATES, data=st.data())
def test_once_decided_always_decided(outcomes: list[bool], least: float, data: st.DataObject) -> None:
    """A prefix that decides gives the verdict of the whole: it may be stopped there."""
    cut = data.draw(st.integers(1, len(outcomes)))
    part, whole = (judge_passes(some, len(outcomes), least) for some in (outcomes[:cut], outcomes))
    if part.decided:
        assert (part.verdict, part.samples) == (whole.verdict, whole.samples)
    assert part.samples <= cut
