"""The generator's own delay, and what is refused for it."""

from __future__ import annotations

import pytest
from loads import MS, answered, run

from pytest_llmci.load.saturation import LAG_QUANTILES, OwnDelay, lag_quantiles
from pytest_llmci.measure.under_load import PERCENTILES
from pytest_llmci.records import Objective

OBJECTIVE = Objective(ttft_s=1)


def outcomes(late_ms: float) -> list:  # type: ignore[type-arg]  # of what run() takes
    return [answered(at, 100, ttft_ms=100, late_ms=late_ms, chunks=1) for at in range(100)]


def test_sending_late_by_just_the_share_is_told_and_beyond_it_is_missing() -> None:
    at, over = run(outcomes(5.0), OBJECTIVE), run(outcomes(5.1), OBJECTIVE)
    names = [f"request_{what}_{name}" for what in ("latency", "ttft") for name in PERCENTILES]
    names += ["request_throughput", "output_throughput", "goodput", "kept_share"]
    assert all(name in at.values for name in names)
    assert not any(name in over.values for name in names)
    assert over.reasons["request_latency_p50"].startswith(
        "the generator itself was too slow: 5.10 ms of a latency of 100 ms are its own, over 5 %; offer less"
    )
    assert over.values["error_rate"] == 0.0  # what failed has failed


def test_seeing_late_counts_as_well() -> None:
    slow = lag_quantiles([6 * MS] * 100)
    assert "request_latency_p50" not in run(outcomes(0), lags_ns=slow).values
    assert "request_latency_p50" in run(outcomes(0), lags_ns=lag_quantiles([5 * MS] * 100)).values


def test_a_tail_of_the_generator_takes_the_tail_alone() -> None:
    made = [answered(at, 100, late_ms=50 if at >= 97 else 0) for at in range(100)]
    values = run(made).values
    assert "request_latency_p50" in values and "request_latency_p95" in values and "request_throughput" in values
    assert "request_latency_p99" not in values


def test_the_gap_of_an_answer_is_hurt_by_lag_and_not_by_late_sending() -> None:
    late = [answered(at, 100, ttft_ms=10, late_ms=50, chunks=10) for at in range(100)]
    assert run(late).values["request_itl_p50"] == 10 * MS
    assert "request_itl_p50" in run(late, lags_ns=lag_quantiles([4 * MS] * 9)).values  # 4 ms over nine gaps of 10 ms
    assert "request_itl_p50" not in run(late, lags_ns=lag_quantiles([5 * MS] * 9)).values


def test_waiting_for_what_came_before_is_not_the_generators_delay() -> None:
    first, second = answered(0, 100), answered(10, 190)
    second.ready_ns = second.sent_ns = 100 * MS
    made = run([first, second])
    assert made.values["generator_delay"] == 0
    assert made.values["request_latency_p50"] == 145 * MS


def test_quantiles_of_lags_are_kept_and_read_from_above() -> None:
    kept = lag_quantiles(range(1001))
    assert len(kept) == len(LAG_QUANTILES) and (kept[0], kept[10], kept[-1]) == (0, 500, 1000)
    own = OwnDelay(sending_ns=[], lags_ns=kept)
    assert [own.whole(share) for share in (0.5, 0.94, 0.95, 0.99, 1.0)] == [500, 950, 950, 990, 1000]
    assert lag_quantiles([]) == [] and OwnDelay(sending_ns=[], lags_ns=[]).whole(0.5) == 0


@pytest.mark.parametrize(("cpu_ms", "per_cent"), [(0, 0), (100, 50)])
def test_cpu_is_told_of_one_core(cpu_ms: int, per_cent: float) -> None:
    assert run([answered(0, 200)], cpu_ns=cpu_ms * MS).values["generator_cpu"] == pytest.approx(per_cent)
