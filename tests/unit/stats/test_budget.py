import re
from collections.abc import Sequence

import pytest

from pytest_llmci.metrics import MetricDef
from pytest_llmci.stats.budget import (
    Decision,
    exceedances_to_fail,
    judge_budget,
    rounds_to_certify,
)
from pytest_llmci.stats.budget_expression import Budget, parse_budget

METRICS = {
    "latency": MetricDef(name="latency", unit="s", direction="lower", definition=""),
    "tokens_per_s": MetricDef(name="tokens_per_s", unit="1/s", direction="higher", definition=""),
    "peak_rss": MetricDef(name="peak_rss", unit="B", direction="lower", definition="", deterministic=True),
    "output_tokens": MetricDef(name="output_tokens", unit="1", direction="none", definition="", deterministic=True),
    "load_time": MetricDef(name="load_time", unit="s", direction="lower", definition="", scope="worker"),
    "net_change": MetricDef(name="net_change", unit="1", direction="lower", definition=""),
    "run_delay": MetricDef(name="run_delay", unit="s", direction="none", definition=""),
}
FAST = [1.00, 1.02, 0.99, 1.01, 1.03]
NEAR = [1.90, 2.10, 1.95, 2.06, 1.98]
SLOW = [2.37, 2.40, 2.41, 2.44, 2.52]


def budget(text: str) -> Budget:
    return parse_budget(text, "test", METRICS)


def judge(
    text: str, values: Sequence[float | None], *, alpha: float = 0.01, last: bool = False, missing: str = ""
) -> Decision:
    return judge_budget(values, budget(text), alpha=alpha, last=last, missing=missing)


# ---------------------------------------------------------------------------------------------------------------- direct


@pytest.mark.parametrize(
    ("text", "below", "equal", "above"),
    [
        ("output_tokens.max <= 50", "pass", "pass", "failed"),
        ("output_tokens.max < 50", "pass", "failed", "failed"),
        ("output_tokens.min >= 50", "failed", "pass", "pass"),
        ("output_tokens.min > 50", "failed", "failed", "pass"),
        ("output_tokens == 50", "failed", "pass", "failed"),
    ],
)
def test_deterministic_metrics_compare_directly(text: str, below: str, equal: str, above: str) -> None:
    assert [judge(text, [value] * 3).verdict for value in (49.0, 50.0, 51.0)] == [below, equal, above]


def test_a_deterministic_metric_needs_one_round() -> None:
    decision = judge("peak_rss <= 2GiB", [1.5 * 2**30])
    assert (decision.verdict, decision.needs_more, decision.p_value) == ("pass", False, None)
    assert judge("peak_rss <= 2GiB", [1.5 * 2**30, 2.5 * 2**30]).verdict == "failed", "the worst round counts"


def test_equality_means_every_round() -> None:
    decision = judge("output_tokens == 50", [50.0, 48.0, 50.0])
    assert (decision.verdict, decision.observed) == ("failed", 48.0)


def test_max_and_min_mean_what_they_say() -> None:
    assert judge("latency.max <= 2s", [1.0, 1.0, 2.01]).verdict == "failed"
    assert judge("latency.max <= 2s", [1.0, 1.0, 2.0]).verdict == "pass"
    assert judge("latency.min <= 1s", [9.0, 1.0, 9.0]).verdict == "pass"
    assert judge("tokens_per_s.min >= 20", [25.0, 19.9]).verdict == "failed"


def test_metrics_of_the_process_compare_directly() -> None:
    decision = judge("load_time <= 5s", [5.12])
    assert decision.verdict == "failed"
    assert decision.reason == "median of 1 process start: 5.12 s is over 5 s"


# ---------------------------------------------------------------------------------------------------------------- centre


def test_a_far_off_cell_is_decided_by_its_first_rounds() -> None:
    slow = judge("latency <= 1s", SLOW, alpha=0.001)
    assert (slow.verdict, slow.needs_more, slow.observed) == ("failed", False, 2.41)
    assert slow.p_value is not None and slow.p_value < 1e-4
    fast = judge("latency <= 2s", FAST, alpha=0.001)
    assert (fast.verdict, fast.needs_more, fast.certified) == ("pass", False, True)


def test_twenty_percent_too_slow_is_proven_by_five_quiet_rounds() -> None:
    assert judge("latency <= 2s", SLOW, alpha=0.001).verdict == "failed"


def test_alpha_decides() -> None:
    p = judge("latency <= 2s", SLOW).p_value
    assert p is not None
    assert judge("latency <= 2s", SLOW, alpha=p * 1.01).verdict == "failed"
    assert judge("latency <= 2s", SLOW, alpha=p * 0.99).verdict == "inconclusive"


def test_near_the_limit_asks_for_more_until_the_end() -> None:
    good, bad = judge("latency <= 2s", NEAR), judge("latency <= 1.96s", NEAR)
    assert (good.verdict, good.needs_more, good.certified) == ("pass", True, False)
    assert (bad.verdict, bad.needs_more) == ("inconclusive", True)
    good, bad = judge("latency <= 2s", NEAR, last=True), judge("latency <= 1.96s", NEAR, last=True)
    assert (good.verdict, good.needs_more) == ("pass", False)
    assert "not certified" in good.reason
    assert (bad.verdict, bad.needs_more) == ("inconclusive", False)
    assert "not proven" in bad.reason


def test_the_last_look_certifies_at_a_lower_bar() -> None:
    values = [1.86, 1.95, 1.76, 1.92, 1.89]
    assert not judge("latency <= 2s", values).certified
    assert judge("latency <= 2s", values, last=True).certified


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("value", [0.1, 100.0])
def test_fewer_than_three_rounds_decide_nothing(n: int, value: float) -> None:
    decision = judge("latency <= 2s", [value] * n)
    assert (decision.verdict, decision.needs_more) == ("inconclusive", True)
    last = judge("latency <= 2s", [value] * n, last=True)
    assert (last.verdict, last.needs_more) == ("inconclusive", False)
    assert last.reason.endswith("fewer than 3 rounds decide nothing: allow more (--llmci-max-rounds)")


@pytest.mark.parametrize("n", [3, 4, 5, 10, 20])
@pytest.mark.parametrize("statistic", ["median", "mean", "p90", "p95", "p99"])
def test_one_outlier_never_decides(n: int, statistic: str) -> None:
    values = (FAST * 4)[: n - 1]
    assert judge(f"latency.{statistic} <= 2s", [*values, 1000.0], last=True).verdict != "failed"


def test_a_single_round_over_a_quantile_decides_nothing() -> None:
    assert judge("latency.p99 <= 2s", [3.0]).verdict == "inconclusive"  # by chance alone: 1 %, which is alpha


def test_a_mean_within_the_limit_never_fails() -> None:
    # nine of ten rounds are too slow, and the one that is not takes the mean below the limit
    decision = judge("latency.mean <= 2s", [2.2, 2.21, 2.19, 2.2, 2.2, 2.2, 2.21, 2.19, 2.2, 0.01], last=True)
    assert decision.p_value is not None and decision.p_value < 1e-4
    assert decision.verdict == "pass"


def test_a_mean_over_the_limit_is_never_called_a_pass() -> None:
    decision = judge("latency.mean <= 2s", [*FAST, *FAST, 100.0], last=True)
    assert decision.observed is not None and decision.observed > 2
    assert decision.verdict == "inconclusive"
    assert not decision.certified


def test_rates_are_judged_from_below() -> None:
    assert judge("tokens_per_s >= 20", [10.0, 10.2, 10.1, 9.9, 10.0]).verdict == "failed"
    assert judge("tokens_per_s >= 20", [30.0, 30.2, 30.1, 29.9, 30.0]).certified


def test_equal_rounds_are_decided() -> None:
    assert judge("latency <= 2s", [2.5] * 5).verdict == "failed"
    assert judge("latency <= 2s", [2.0] * 5, last=True).verdict == "pass"
    assert judge("latency < 2s", [2.0] * 5, last=True).verdict == "inconclusive"


def test_a_rate_of_zero_is_a_measurement() -> None:
    assert judge("tokens_per_s >= 20", [0.0] * 5).verdict == "failed"
    assert judge("tokens_per_s >= 20", [0.0, 0.0, 0.1, 0.0, 0.0, 0.2]).verdict == "failed"


def test_a_waiting_time_of_zero_is_a_measurement() -> None:
    assert judge("run_delay <= 5ms", [0.0, 0.0, 1e-4, 0.0, 2e-4]).certified
    assert judge("run_delay <= 5ms", [0.0, 0.02, 0.03, 0.02, 0.025], last=True).verdict == "inconclusive"


def test_a_quantity_with_a_sign_and_a_limit_of_zero() -> None:
    assert judge("net_change <= 0", [-0.5, -0.6, -0.4, -0.5, -0.55]).certified
    assert judge("net_change <= 0", [0.5, 0.6, 0.4, 0.5, 0.55]).verdict == "failed"


# -------------------------------------------------------------------------------------------------------------- quantile


@pytest.mark.parametrize(
    ("bad_share", "expected"),
    [
        (0.05, [2, 2, 3, 4, 5, 6, 8, 12]),
        (0.10, [2, 3, 3, 5, 7, 8, 13, 19]),
        (0.50, [None, None, None, 10, 16, 22, 40, 63]),
        (0.01, [2, 2, 2, 2, 3, 3, 4, 5]),
    ],
)
def test_exceedances_that_fail(bad_share: float, expected: list[int | None]) -> None:
    found = [exceedances_to_fail(n, bad_share) for n in (2, 3, 5, 10, 20, 30, 60, 100)]
    assert found == expected


@pytest.mark.parametrize(("name", "share"), [("p90", 0.10), ("p95", 0.05), ("p99", 0.01)])
@pytest.mark.parametrize("n", [2, 5, 10, 20, 60])
def test_quantiles_fail_by_exceedances(name: str, share: float, n: int) -> None:
    fails_at = exceedances_to_fail(n, share)
    assert fails_at is not None
    enough = [3.0] * fails_at + [1.0] * (n - fails_at)
    assert judge(f"latency.{name} <= 2s", enough).verdict == "failed"
    assert judge(f"latency.{name} <= 2s", [*enough[1:], 1.0], last=True).verdict != "failed"


@pytest.mark.parametrize(("name", "needed"), [("p90", 29), ("p95", 59), ("p99", 299)])
def test_quantiles_are_certified_by_enough_good_rounds(name: str, needed: int) -> None:
    certified = judge(f"latency.{name} <= 2s", [1.0] * needed)
    assert (certified.verdict, certified.certified, certified.needs_more) == ("pass", True, False)
    early = judge(f"latency.{name} <= 2s", [1.0] * (needed - 1))
    assert (early.verdict, early.certified, early.needs_more) == ("pass", False, True)
    assert f"{name} takes {needed} rounds" in early.reason
    assert rounds_to_certify(1 - float(f"0.{name[1:]}")) == needed


def test_quantiles_on_the_bad_side_without_proof_are_undecided() -> None:
    decision = judge("latency.p95 <= 2s", [1.0] * 8 + [3.0] * 2, last=True)
    assert (decision.verdict, decision.needs_more) == ("inconclusive", False)
    assert judge("latency.p95 <= 2s", [1.0] * 19 + [3.0], last=True).verdict == "pass"
    assert judge("latency.p90 <= 2s", [1.0] * 18 + [3.0] * 2, last=True).verdict == "pass"


def test_a_value_on_the_limit_meets_it() -> None:
    assert judge("latency.p95 <= 2s", [2.0] * 10).verdict == "pass"
    assert judge("latency.p95 < 2s", [2.0] * 10).verdict == "failed"


def test_quantiles_are_numbers_from_twenty_rounds_on() -> None:
    assert judge("latency.p95 <= 2s", [1.0] * 19).observed is None
    assert judge("latency.p95 <= 2s", [1.0] * 20).observed == 1.0


def test_lower_limits_of_quantiles_are_taken_literally() -> None:
    # p90 >= 20: at least a tenth of the rounds reach 20
    assert judge("tokens_per_s.p90 >= 20", [10.0] * 60).verdict == "failed"
    assert judge("tokens_per_s.p90 >= 20", [30.0] * 2 + [10.0] * 8).verdict == "pass"


# ------------------------------------------------------------------------------------------------------ missing or broken


@pytest.mark.parametrize("text", ["latency <= 2s", "latency.p95 <= 2s", "latency.max <= 2s", "peak_rss <= 2GiB"])
def test_missing_data_is_never_a_pass(text: str) -> None:
    for values in ([], [None, None], [1.0, 1.0, None, 1.0, 1.0]):
        decision = judge(text, values, missing="the source does not stream.")
        assert (decision.verdict, decision.observed, decision.needs_more) == ("failed", None, False)
        assert decision.reason.startswith("missing") and decision.reason.endswith("the source does not stream")
    assert "in 1 of 5 rounds" in judge(text, [1.0, None, 1.0, 1.0, 1.0]).reason
    assert judge(text, []).reason == "missing: no round was measured"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("text", ["latency <= 2s", "latency.p95 <= 2s", "latency.min <= 2s", "peak_rss <= 2GiB"])
def test_what_is_no_number_is_never_a_pass(text: str, value: float) -> None:
    decision = judge(text, [1.0, value, 1.0, 1.0])
    assert decision.verdict == "failed"
    assert "round 2" in decision.reason


def test_a_negative_time_is_a_broken_measurement() -> None:
    decision = judge("latency <= 2s", [1.0, 1.0, -0.5, 1.0, 1.0])
    assert (decision.verdict, decision.reason) == ("failed", "round 3 measured -0.5, which no latency can be")


# ----------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "values", "reason"),
    [
        ("latency <= 2s", SLOW, r"median of 5 rounds: 2.41 s is over 2 s \([\d.e-]+ % by chance\)"),
        ("latency <= 2s", FAST, r"median of 5 rounds: 1.01 s meets <= 2 s, certified"),
        ("latency <= 2s", NEAR, r"median of 5 rounds: 1.98 s meets <= 2 s; not certified: the rounds vary too much .*"),
        ("latency.p95 <= 2s", SLOW, r"5 of 5 rounds over 2 s \(under 0.0001 % by chance\)"),
        ("peak_rss <= 2GiB", [3.0 * 2**30], r"max of 1 round: 3 GiB is over 2 GiB"),
        ("latency.max <= 2s", [2.00001], r"max of 1 round: 2.00001 s is over 2 s"),
        ("tokens_per_s.min >= 20", [10.0], r"min of 1 round: 10 /s is under 20 /s"),
        ("latency.max < 2s", [2.0], r"max of 1 round: 2 s is not under 2 s"),
    ],
)
def test_reasons_in_plain_words(text: str, values: list[float], reason: str) -> None:
    found = judge(text, values).reason
    assert re.fullmatch(reason, found), found
