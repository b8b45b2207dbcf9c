"""Numbers of a run, from its requests."""

from __future__ import annotations

import pytest
from loads import MS, answered, failed, run

from pytest_llmci.load.accounting import keeps, outcomes_of
from pytest_llmci.measure.under_load import LOAD_METRIC_NAMES, PERCENTILES
from pytest_llmci.records import Objective


def test_every_metric_is_a_number_or_has_a_reason() -> None:
    for made in (
        run([answered(0, 50)]),
        run([answered(0, 50, ttft_ms=None, tokens=None, chunks=0), failed(1, 2)], Objective(ttft_s=1)),
    ):
        assert made.values.keys() | made.reasons.keys() == set(LOAD_METRIC_NAMES)
        assert not made.values.keys() & made.reasons.keys()


def test_rates_are_over_the_time_from_the_first_intended_sending_to_the_last_end() -> None:
    made = run(
        [answered(100, 400), answered(200, 100), answered(1000, 100), failed(50, 2050)], Objective(latency_s=0.2)
    )
    # from 50 ms to 2100 ms
    assert made.values["request_throughput"] == pytest.approx(3 / 2.05)
    assert made.values["output_throughput"] == pytest.approx(15 / 2.05)
    assert made.values["goodput"] == pytest.approx(2 / 2.05)
    assert made.values["kept_share"] == pytest.approx(50.0)
    assert made.values["error_rate"] == pytest.approx(25.0)


def test_times_count_from_the_intended_sending_however_late_it_was_sent() -> None:
    made = run([answered(0, 1000, ttft_ms=900, late_ms=20)])
    assert (made.values["request_latency_p50"], made.values["request_ttft_p50"]) == (1000 * MS, 900 * MS)
    assert made.values["request_itl_p50"] == 25 * MS


@pytest.mark.parametrize(
    ("requests", "p95", "p99"), [(19, False, False), (20, True, False), (99, True, False), (100, True, True)]
)
def test_a_percentile_needs_so_many_requests_that_it_is_not_the_largest(requests: int, p95: bool, p99: bool) -> None:
    made = run([answered(at, 50 + at) for at in range(requests)])
    for metric in ("request_latency", "request_ttft", "request_itl"):
        found = tuple(f"{metric}_{name}" in made.values for name in PERCENTILES)
        assert found == (True, p95, p99)
    if not p99:
        assert made.reasons["request_latency_p99"] == f"p99 needs 100 answered requests; this run has {requests}"


def test_failed_requests_are_in_no_time_and_count_for_none_that_keeps() -> None:
    made = run([*(answered(at, 50) for at in range(20)), *(failed(at, 5000) for at in range(5))], Objective(ttft_s=10))
    assert made.values["request_latency_p95"] == 50 * MS
    assert made.values["kept_share"] == pytest.approx(80.0)
    assert made.messages == {"timeout": "it took too long"}


def test_a_source_without_tokens_has_latency_and_no_more() -> None:
    made = run([answered(0, 50, ttft_ms=None, tokens=None, chunks=0)], Objective(latency_s=1))
    assert made.values["goodput"] == pytest.approx(20.0)
    assert (
        made.reasons["request_ttft_p50"]
        == made.reasons["request_itl_p50"]
        == "this model source does not tell when tokens arrive"
    )
    assert made.reasons["output_throughput"] == "this model source does not count tokens"
    assert "tell when tokens arrive" in run([answered(0, 50, ttft_ms=None)], Objective(ttft_s=1)).reasons["goodput"]


@pytest.mark.parametrize(
    ("objective", "kept"),
    [
        (Objective(), True), (Objective(ttft_s=0.010), True), (Objective(ttft_s=0.009), False), (Objective(itl_s=0.010), True),
        (Objective(itl_s=0.0099), False), (Objective(latency_s=0.050), True), (Objective(latency_s=0.049), False),
        (Objective(ttft_s=1, itl_s=1, latency_s=0.049), False),
    ],
)  # fmt: skip
def test_what_keeps_an_objective_at_and_beyond_its_limits(objective: Objective, kept: bool) -> None:
    assert keeps(answered(500, 50), objective) is kept
    assert keeps(failed(0, 1), objective) is False


def test_an_answer_of_one_token_has_no_gap_to_keep() -> None:
    one = answered(0, 10, chunks=1, tokens=1)
    assert keeps(one, Objective(itl_s=0.001)) is True
    assert run([one]).reasons["request_itl_p50"] == "no answer had two tokens"
    assert keeps(answered(0, 10, ttft_ms=None), Objective(itl_s=1)) is None


def test_what_nobody_set_or_asked_for_says_so() -> None:
    made = run([answered(0, 50)], rate=None)
    assert "--llmci-objective" in made.reasons["goodput"] and "--llmci-objective" in made.reasons["kept_share"]
    assert made.reasons["max_rate"] == "it takes a sweep: rate=LOW..HIGH"
    assert made.reasons["offered_rate"] == "the answers set the pace"


def test_a_run_tells_its_requests_back() -> None:
    outcomes = [answered(0, 50, late_ms=1), answered(5, 60, ttft_ms=None)]
    assert outcomes_of(run(outcomes)) == outcomes


def test_tokens_of_a_server_are_unseen_where_most_answers_were_held_back() -> None:
    held = [answered(at, 100, ttft_ms=100, chunks=16) for at in range(3)]
    seen = [answered(at, 100, ttft_ms=20, chunks=16) for at in range(3, 6)]
    assert run([*held, *seen]).values["request_ttft_p50"] == 60 * MS
    made = run([*held, *seen[:2]], Objective(ttft_s=1))
    assert made.values["request_latency_p50"] == 100 * MS
    for name in ("request_ttft_p50", "request_itl_p50", "goodput", "kept_share"):
        assert "does not tell when tokens arrive" in made.reasons[name]
    assert run([*held, *seen[:2]], served="one at a time").values["request_itl_p50"] == 0
