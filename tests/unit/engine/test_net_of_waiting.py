from __future__ import annotations

from typing import Any

import pytest
from sample_run import rounds

from pytest_llmci.engine.net_of_waiting import Net, judge_net
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import RoundsRecord
from pytest_llmci.stats.budget_expression import parse_budget

KNOWN = {metric.name: metric for metric in builtin_metrics()}
LATENCIES_MS = (1000.0, 1004.0, 1002.0, 1003.0, 1001.0)
MS = 1_000_000


def block(**columns: Any) -> RoundsRecord:
    """Rounds of a second that waited for 500 ms; further columns as stored."""
    values = {
        "latency": [each * MS for each in LATENCIES_MS], "run_delay": [500 * MS] * 5, "net_time": [(each - 500) * MS for each in LATENCIES_MS],
        "steal": [0] * 5, "major_faults": [0] * 5,
    }  # fmt: skip
    return rounds(latencies_ms=LATENCIES_MS, values={**values, **columns})


def judged(text: str, record: RoundsRecord) -> Net | None:
    return judge_net([record], parse_budget(text, "x", KNOWN), alpha=0.01, last=True)


@pytest.mark.parametrize(
    ("text", "columns", "shown", "is_far_off"),
    [
        ("latency <= 240ms", {}, "502 ms", True),
        ("latency <= 260ms", {}, "502 ms", False),
        ("latency.mean <= 240ms", {}, "502 ms", True),
        ("latency.p95 <= 240ms", {}, "", True),
        ("latency.p95 <= 260ms", {}, "", False),
        ("ttft <= 140ms", {"ttft": [800 * MS] * 5}, "300 ms", True),
        ("ttft <= 160ms", {"ttft": [800 * MS] * 5}, "300 ms", False),
        ("latency_per_token <= 4ms", {"latency_per_token": [20 * MS] * 5}, "10 ms", True),
        ("latency_per_token <= 6ms", {"latency_per_token": [20 * MS] * 5}, "10 ms", False),
        ("tokens_per_s >= 210", {"tokens_per_s": [50.0] * 5}, "99.8 /s", True),
        ("tokens_per_s >= 190", {"tokens_per_s": [50.0] * 5}, "99.8 /s", False),
        ("latency <= 190ms", {"steal": [100 * MS] * 5}, "402 ms", True),
        ("latency <= 240ms", {"steal": [100 * MS] * 5}, "402 ms", False),
        ("latency <= 240ms", {"major_faults": [100] * 5}, "402 ms", False),
    ],
)
def test_all_that_was_waited_is_taken_away_and_twice_the_limit_allowed(
    text: str, columns: dict[str, Any], shown: str, is_far_off: bool
) -> None:
    found = judged(text, block(**columns))
    assert found is not None
    assert (found.shown.replace(".0 ", " "), found.is_far_off) == (shown, is_far_off)


@pytest.mark.parametrize("column", ["run_delay", "net_time", "steal", "major_faults"])
def test_what_is_not_known_of_one_round_explains_everything(column: str) -> None:
    whole: list[Any] = list(block().values[column])
    assert judged("latency <= 1ms", block(**{column: [None, *whole[1:]]})) is None


def test_a_round_shorter_than_a_tick_has_no_steal_to_tell() -> None:
    latencies = (2.0, 2.1, 2.05, 2.02, 2.04)
    values = {
        "latency": [each * MS for each in latencies], "run_delay": [MS // 2] * 5, "net_time": [each * MS - MS // 2 for each in latencies],
        "steal": [None] * 5, "major_faults": [0] * 5,
    }  # fmt: skip
    found = judged("latency <= 0.5ms", rounds(latencies_ms=latencies, values=values))
    assert found is not None and found.is_far_off


def test_a_round_that_may_have_been_all_waiting_explains_everything() -> None:
    assert judged("ttft <= 1ms", block(ttft=[800 * MS, 800 * MS, 500 * MS, 800 * MS, 800 * MS])) is None
    late = [600 * MS] * 4 + [1001 * MS]
    assert judged("tokens_per_s >= 1000", block(tokens_per_s=[50.0] * 5, run_delay=late)) is None


def test_of_other_times_the_part_that_waited_is_not_known() -> None:
    assert judged("itl <= 1ns", block(itl=[20 * MS] * 5)) is None
    assert judged("decode_tokens_per_s >= 100000", block(decode_tokens_per_s=[50.0] * 5)) is None
