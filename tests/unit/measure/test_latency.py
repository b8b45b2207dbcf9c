from __future__ import annotations

import pytest

from pytest_llmci.measure.base import RoundFacts
from pytest_llmci.measure.latency import LatencyInstrument, latency_values
from pytest_llmci.records import Completion, Missing


def _facts(token_ns: tuple[int, ...], wall_ns: int, output: int | None = None, prompt: int | None = None) -> RoundFacts:
    completion = Completion(text="x", finish_reason="stop", prompt_tokens=prompt, output_tokens=output)
    return RoundFacts(wall_ns=wall_ns, token_ns=token_ns, completion=completion, threads=1)


def _reason(value: object) -> str:
    assert isinstance(value, Missing)
    return value.reason


def test_a_known_timeline_gives_the_known_numbers() -> None:
    values = latency_values(_facts((100_000_000, 20_000_000, 30_000_000), 160_000_000, output=3, prompt=7))
    assert values == {
        "latency": 150_000_000,
        "ttft": 100_000_000,
        "return_tail": 10_000_000,
        "itl": 25_000_000,
        "tpot": 25_000_000,
        "tokens_per_s": pytest.approx(20.0),
        "latency_per_token": 50_000_000,
        "prefill_tokens_per_s": pytest.approx(70.0),
        "decode_tokens_per_s": pytest.approx(40.0),
        "prompt_tokens": 7,
        "output_tokens": 3,
    }


def test_every_declared_metric_is_read_and_no_other() -> None:
    declared = {metric.name for metric in LatencyInstrument.metrics}
    assert set(latency_values(_facts((5, 5), 10, output=2))) == declared
    assert set(latency_values(_facts((), 10))) == declared


def test_without_stamps_latency_is_the_wall_time_and_the_rest_is_missing() -> None:
    values = latency_values(_facts((), 80_000_000, output=4))
    assert values["latency"] == 80_000_000
    assert values["tokens_per_s"] == pytest.approx(50.0)
    assert values["latency_per_token"] == 20_000_000
    for name in ("ttft", "itl", "tpot", "decode_tokens_per_s", "return_tail", "prefill_tokens_per_s"):
        assert "does not tell when tokens arrive" in _reason(values[name])


def test_an_empty_answer_is_not_taken_for_a_source_without_stamps() -> None:
    values = latency_values(_facts((), 80, output=0))
    assert values["output_tokens"] == 0
    for name in ("ttft", "itl", "tpot", "tokens_per_s", "latency_per_token", "prefill_tokens_per_s"):
        assert "produced no token" in _reason(values[name])


def test_one_token_has_no_gap() -> None:
    values = latency_values(_facts((50,), 60, output=1))
    assert values["ttft"] == values["latency"] == 50
    assert "no gap" in _reason(values["itl"])
    assert "fewer than two tokens" in _reason(values["tpot"])
    assert "fewer than two tokens" in _reason(values["decode_tokens_per_s"])


def test_an_answer_in_one_chunk_is_not_infinitely_fast() -> None:
    values = latency_values(_facts((50,), 60, output=20))
    assert "only one token or chunk" in _reason(values["tpot"])
    assert "only one token or chunk" in _reason(values["decode_tokens_per_s"])
    assert values["tokens_per_s"] == pytest.approx(20 * 1e9 / 50)


def test_chunks_count_for_the_gap_and_tokens_for_the_rate() -> None:
    values = latency_values(_facts((100, 300, 300), 700, output=13))
    assert values["itl"] == 300
    assert values["tpot"] == 50


def test_uncounted_tokens_leave_the_times() -> None:
    values = latency_values(_facts((100, 300), 400))
    assert values["itl"] == 300
    uncounted = ("tpot", "tokens_per_s", "latency_per_token", "prefill_tokens_per_s", "decode_tokens_per_s")
    for name in (*uncounted, "output_tokens", "prompt_tokens"):
        assert "does not count tokens" in _reason(values[name])


@pytest.mark.parametrize(
    ("token_ns", "wall_ns"),
    [((), -1), ((-1, 5), 10), ((5, -1, 5), 10), ((5, 6), 10)],
    ids=["call", "first", "gap", "tail"],
)
def test_a_clock_that_went_back_gives_no_time(token_ns: tuple[int, ...], wall_ns: int) -> None:
    values = latency_values(_facts(token_ns, wall_ns, output=3, prompt=7))
    assert (values.pop("prompt_tokens"), values.pop("output_tokens")) == (7, 3)
    assert {_reason(value) for value in values.values()} == {"the clock went back during the inference"}


def test_a_clock_that_stood_still_gives_no_rate() -> None:
    values = latency_values(_facts((0, 0), 0, output=2))
    assert values["latency"] == 0
    assert isinstance(values["tokens_per_s"], Missing)
    assert isinstance(values["decode_tokens_per_s"], Missing)
