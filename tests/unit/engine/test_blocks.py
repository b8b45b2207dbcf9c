from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import sample_run
from sample_run import CRASH

from pytest_llmci.engine.blocks import NOT_TIMED, block_record, output_md5, without_times
from pytest_llmci.engine.schedule import CellMeasurement, CellPlan
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import (
    Cell,
    Completion,
    GenerationSettings,
    ModelSpec,
    Prompt,
    RoundRecord,
    RoundsRecord,
    RunRequest,
    from_json,
    to_json,
)

PROMPT = Prompt(id="tcp", text="What is TCP?")
GENERATION = GenerationSettings(max_new_tokens=5)


def test_md5_is_over_the_texts_without_separators() -> None:
    assert output_md5("m", "p\n", "é") == hashlib.md5("mp\né".encode()).hexdigest()
    assert output_md5("ab", "", "") == output_md5("a", "b", "") == output_md5("", "", "ab")
    assert len(output_md5("m", "\ud800", "o")) == 32


def one_round(latency: int, text: str, **changes: Any) -> RoundRecord:
    completion = {name: changes.pop(name) for name in ("special_only", "token_source", "templated") if name in changes}
    facts: dict[str, Any] = {
        "values": {"latency": latency}, "reasons": {}, "token_ns": (1, latency - 1),
        "completion": Completion(text=text, finish_reason="stop", **completion),
    }  # fmt: skip
    return RoundRecord(**{**facts, **changes})


def columns(rounds: list[RoundRecord], **changes: Any) -> RoundsRecord:
    cell = Cell(id="a-tcp", model=ModelSpec(alias="a", backend="echo"), prompt=PROMPT)
    plan = CellPlan(rounds=5, max_rounds=5, warmup=0, block=5, generation=GENERATION)
    measurement = CellMeasurement(cell=cell, plan=plan, error=changes.get("error"), blocks=changes.pop("blocks", []))
    request = RunRequest(cell="a-tcp", prompt=PROMPT, generation=GENERATION, rounds=5, warmup=0, first_round=10)
    facts: dict[str, Any] = {
        "uid": "r1", "test": "t", "attempt": 2, "origin": "measured", "worker": "w1", "started": "now", "contended": False, "isolated": True,
        "late": {}, "error": None,
    }  # fmt: skip
    return block_record(measurement, request, rounds, **{**facts, **changes})


def test_rounds_become_columns() -> None:
    record = columns([one_round(10, "A", noisy="steal"), one_round(20, "B"), one_round(30, "A", token_source="script")])
    assert record.values == {"latency": [10, 20, 30]}
    assert record.token_ns == [[1, 9], [1, 19], [1, 29]]
    assert (record.outputs, record.output_of_round) == (["A", "B"], [0, 1, 0])
    assert record.md5 == [output_md5("a", "What is TCP?", text) for text in "AB"]
    assert record.output_sha256 == [hashlib.sha256(text.encode()).hexdigest() for text in "AB"]
    assert record.prompt_sha256 == hashlib.sha256(b"What is TCP?").hexdigest()
    assert (record.noisy, record.finish_reasons) == (["steal", "", ""], ["stop"] * 3)
    assert (record.n, record.first_round, record.block, record.attempt) == (3, 10, 0, 2)
    assert (record.cell, record.model, record.prompt_id, record.prompt) == ("a-tcp", "a", "tcp", "What is TCP?")
    assert (record.generation, record.token_source, record.worker) == (GENERATION, "script", "w1")
    assert from_json(RoundsRecord, to_json(record)) == record


def test_a_number_that_one_round_lacks_is_null_there_and_the_reason_stands() -> None:
    record = columns(
        [one_round(10, "A"), one_round(20, "A", values={}, reasons={"latency": "lost", "ttft": "no stream"})]
    )
    assert record.values == {"latency": [10, None]}
    assert record.reasons == {"latency": "lost", "ttft": "no stream"}


def test_facts_of_the_block() -> None:
    record = columns(
        [one_round(10, "A", memory_method="hwm", peak_rss_resolution_bytes=4096, special_only=True, templated=True)],
        contended=True, isolated=False, origin="call", error=CRASH, blocks=[columns([])],
    )  # fmt: skip
    assert (record.memory_method, record.peak_rss_resolution_bytes) == ("hwm", 4096)
    assert (record.special_only, record.templated, record.contended, record.memory_isolated) == (
        True,
        True,
        True,
        False,
    )
    assert (record.origin, record.error, record.block) == ("call", CRASH, 1)


def test_a_method_that_changed_on_the_way_is_told() -> None:
    found = columns([one_round(10, "A", memory_method=name) for name in ("hwm", "sampler", "hwm", "")])
    assert found.memory_method == "hwm+sampler"


def test_a_block_without_a_round_is_a_row_all_the_same() -> None:
    record = columns([], error=CRASH)
    assert (record.n, record.values, record.outputs, record.error) == (0, {}, [], CRASH)


def test_a_cell_that_is_not_timed_keeps_what_other_work_beside_it_does_not_spoil() -> None:
    metrics = {metric.name: metric for metric in builtin_metrics()}
    values: dict[str, list[float | None]] = {
        name: [1.0]
        for name in ("latency", "tokens_per_s", "cpu_time", "cpu_percent", "run_delay", "major_faults", "energy", "peak_rss", "output_tokens", "retries", "own")
    }  # fmt: skip
    record = replace(sample_run.rounds(), n=1, values=values, token_ns=[[1, 2]], noisy=["late"])
    kept = without_times(record, metrics)
    assert set(kept.values) == {"peak_rss", "output_tokens", "retries", "own"}
    assert kept.reasons["latency"] == kept.reasons["run_delay"] == NOT_TIMED
    assert (kept.token_ns, kept.noisy) == ([[]], [""])
    late = "late; attempt 1 failed: the server limits the rate, HTTP 429"  # what was put off stays known
    assert without_times(replace(record, noisy=[late]), metrics).noisy == [late.removeprefix("late; ")]
