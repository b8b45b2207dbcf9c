"""Load on a model in this process, in a fake clock's time."""

from __future__ import annotations

import pytest
from loads import MS, Batches, SlowModel, driver

from pytest_llmci.clock import FakeClock
from pytest_llmci.load.accounting import accounted
from pytest_llmci.load.arrivals import poisson_ns
from pytest_llmci.load.scenario import parse_scenario
from pytest_llmci.records import LoadRun

ANSWER_MS = 60
"""20 ms to the first of five tokens, 10 ms to each further one."""


def ran(model: SlowModel, text: str, seed: int = 0) -> LoadRun:
    scenario = parse_scenario(text, "x")
    return accounted(driver(model)[0].run(scenario, seed), scenario.objective)


def test_single_stream_is_one_after_the_other() -> None:
    found = ran(SlowModel(FakeClock()), "single-stream requests=4")
    assert found.intended_ns == [0, 60 * MS, 121 * MS, 182 * MS]  # completing an answer takes 1 ms, and is no latency
    assert [end - start for start, end in zip(found.intended_ns, found.ended_ns, strict=True)] == [
        60 * MS,
        61 * MS,
        61 * MS,
        61 * MS,
    ]
    assert found.served == "one at a time" and found.tokens == [5] * 4 and found.chunks == [5] * 4


def test_a_closed_loop_of_users_waits_in_line() -> None:
    found = ran(SlowModel(FakeClock()), "concurrency=3 requests=9")
    latencies = [end - start for start, end in zip(found.intended_ns, found.ended_ns, strict=True)]
    assert found.intended_ns[:3] == [0, 0, 0] and found.intended_ns[3] == found.ended_ns[0]
    assert all(abs(latency / MS - 3 * 61) <= 2 for latency in latencies[3:])  # Little's law: three users, one at a time
    assert found.concurrency == 3 and found.rate is None


def test_arrivals_of_a_server_do_not_wait_for_answers_and_their_latency_counts_from_when_they_came() -> None:
    model = SlowModel(FakeClock(), stalls_ms={5: 2000})
    found = ran(model, "rate=5 requests=30")
    assert found.intended_ns == poisson_ns(30, 5.0, 0)
    behind = [number for number, at in enumerate(found.intended_ns) if found.sent_ns[5] < at < found.ended_ns[5]]
    assert len(behind) >= 5
    for number in behind:  # each of them has what was left of the stall in its latency, and so has its first token
        assert found.ended_ns[number] - found.intended_ns[number] > found.ended_ns[5] - found.intended_ns[number]
        assert found.sent_ns[number] >= found.ended_ns[5]
    naive = [end - sent for sent, end in zip(found.sent_ns, found.ended_ns, strict=True)]
    assert sorted(naive)[-2] <= 61 * MS  # who counts from the sending sees the stall once
    assert found.values["request_latency_p50"] > 61 * MS and found.values["request_latency_p95"] > 1500 * MS
    assert found.values["generator_delay"] == 0  # none of that wait is the generator's


def test_the_clock_sleeps_until_a_request_is_due() -> None:
    found = ran(SlowModel(FakeClock()), "rate=1 requests=10")
    assert all(
        sent == max(due, ready)
        for due, ready, sent in zip(found.intended_ns, found.ready_ns, found.sent_ns, strict=True)
    )


def test_offline_hands_all_over_at_once_where_the_source_can_batch() -> None:
    found = ran(Batches(FakeClock()), "offline requests=10")
    assert found.served == "in batches" and set(found.intended_ns) == {0}
    assert [round(end / MS) for end in found.ended_ns] == [101, 102, 103, 104, 205, 206, 207, 208, 309, 310]
    assert found.values["request_throughput"] == pytest.approx(10 / 0.310)
    assert found.values["output_throughput"] == pytest.approx(50 / 0.310)
    assert "request_ttft_p50" in found.reasons and "generator_delay" in found.values


def test_offline_without_batches_is_a_line() -> None:
    found = ran(SlowModel(FakeClock()), "offline requests=5")
    assert found.served == "one at a time" and set(found.intended_ns) == {0} and found.ended_ns[-1] >= 300 * MS


def test_a_request_that_fails_is_recorded_and_the_run_goes_on() -> None:
    found = ran(
        SlowModel(FakeClock(), fails=lambda number: number == 1, empty=lambda number: number == 2),
        "single-stream requests=5",
    )
    assert found.failures == ["", "refused", "empty", "", ""]
    assert found.values["error_rate"] == pytest.approx(40.0)
    assert found.messages == {"refused": "it would not", "empty": "it was answered without any token"}


def test_prompts_take_turns_and_progress_is_told() -> None:
    model, beats = SlowModel(FakeClock()), list[int]()
    sender, _ = driver(model, beat=beats.append)
    sender.warm_up(2)
    assert (model.answers, beats) == (2, [0, 0])
    found = sender.run(parse_scenario("single-stream requests=6", "x"), 0)
    assert [f"p{place}" for place in found.prompts] == model.asked[2:]
    assert sorted(model.asked[2:]) == ["p0", "p0", "p1", "p1", "p2", "p2"] and beats[2:] == [1, 2, 3, 4, 5, 6]
