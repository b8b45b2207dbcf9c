from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sample_run import CRASH, header, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.errors import ConfigError, StoreError
from pytest_llmci.records import CheckResult, LogRecord, Message, Prompt, RoundsRecord
from pytest_llmci.store.baseline_log import baseline_of_log, lock_files
from pytest_llmci.store.baseline_record import BaselineMemory, BaselineRecord
from pytest_llmci.store.comparability import environment_part, prompt_sha256, protocol_part, subject_part


def made(*records: LogRecord, **changes: Any) -> BaselineRecord:
    return baseline_of_log([header(**changes), *records], "main")


def latencies(record: BaselineRecord, cell: str = "a-tcp") -> list[float]:
    found = record.cell(cell)
    assert found is not None
    return record.values(found, "latency")


def test_what_a_run_measured_and_how(tmp_path: Path) -> None:
    write_log(tmp_path, usual_records())
    record = baseline_of_log(tmp_path, "main", saved=datetime(2026, 7, 1, tzinfo=UTC))
    session = record.newest
    assert (record.schema, record.name, session.saved[:10], session.run_id) == (
        "llmci-baseline/1", "main", "2026-07-01", "20260101T000000Z-abcdef",
    )  # fmt: skip
    assert [cell.id for cell in session.cells] == ["a-dns", "a-tcp"]
    assert [model.alias for model in session.models] == ["a"]  # b crashed
    cell = record.cell("a-tcp")
    assert cell is not None
    assert (cell.rounds, cell.processes, cell.pairs, cell.repeats) == (3, [3], (0, 0, 0), 1)
    assert (cell.test, cell.checks) == ("inference::a-tcp", {"valid": True})
    assert latencies(record) == [0.1, 0.12, 0.11]
    assert cell.samples["peak_rss"] == [250_000_000, 250_000_001, 250_000_002]
    assert cell.output_of_round == [0, 0, 0]
    assert cell.outputs == [hashlib.sha256(b"An answer.").hexdigest()]
    assert cell.finish_reasons == ["length"]
    noisy = record.cell("a-dns")
    assert noisy is not None and noisy.noisy_rounds == 1
    assert record.worker_values("a", "load_time") == [1.5]
    assert record.worker_values("nobody", "load_time") == []


def test_the_three_parts_are_those_of_a_comparison() -> None:
    start, block = worker(info={"threads": 1, "dtype": "float32", "device_name": "A card"}), rounds()
    facts: dict[str, Any] = {"machine": "x86_64", "kernel": "6.1", "git": {"commit": "c0ffee", "dirty": True}}
    record = made(start, block, environment=facts)
    environment = environment_part(facts, start.info)
    assert record.environment == environment.facts
    assert record.environment["accelerator"] == "A card"
    assert record.environment_digest == environment.digest
    cell, model = record.cell("a-tcp"), record.model("a")
    assert cell is not None and cell.protocol == protocol_part(block, start).facts
    assert model is not None and model.subject == subject_part(start, facts).facts
    assert (record.newest.origin.commit, record.newest.origin.dirty) == ("c0ffee", True)


def test_a_parallel_worker_elsewhere_has_its_own_machine() -> None:
    elsewhere = worker(info={"threads": 1, "machine": {"machine": "riscv64", "kernel": "5.4"}})
    record = made(elsewhere, rounds(), environment={"machine": "x86_64", "kernel": "6.1", "cores_allowed": 2})
    assert record.environment["machine"] == "riscv64"
    assert record.environment["kernel_major"] == "5"
    assert record.environment["cores_allowed"] == 2  # what it does not say is the session's


def test_a_baseline_is_of_one_machine() -> None:
    here, there = worker(), worker(uid="w9", model="z", info={"machine": {"machine": "riscv64"}})
    other = rounds(uid="r9", cell="z-tcp", model="z", worker="w9", test="inference::z-tcp")
    with pytest.raises(StoreError, match=r"a and z were measured on different machines \(machine: x86_64 -> riscv64\)"):
        made(here, rounds(), there, other, environment={"machine": "x86_64"})


@pytest.mark.parametrize(
    "other",
    [
        rounds("x", latencies_ms=(900,), contended=True),
        rounds("x", latencies_ms=(900,), error=CRASH),
        rounds("x", latencies_ms=(900,), origin="call"),
        rounds("x", latencies_ms=(900,), origin="memory"),
        rounds("x", latencies_ms=(900,), origin="reference", worker="w2"),
        rounds("x", latencies_ms=(900,), worker="unknown"),
        rounds("r1", latencies_ms=(900,)),
    ],
    ids=["contended", "failed", "call", "memory", "reference", "unknown process", "twice"],
)
def test_what_never_enters(other: LogRecord) -> None:
    record = made(worker(), worker("w2", role="reference", values={"load_time": 9}), rounds("r1"), other)
    assert latencies(record) == [0.1, 0.12, 0.11]
    assert record.worker_values("a", "load_time") == [1.5]


def of_memory_pass(uid: str, *growth: float | None, **changes: Any) -> RoundsRecord:
    values = {"peak_rss_delta": list(growth)}
    return rounds(uid, latencies_ms=(1,) * len(growth), origin="memory", worker="w2", **{"values": values, **changes})


def memory_pass(*records: LogRecord) -> BaselineMemory | None:
    found = made(worker(), worker("w2", role="memory"), rounds("r1"), *records).cell("a-tcp")
    assert found is not None
    return found.memory_pass


def test_a_memory_pass_is_kept_beside_the_rounds() -> None:
    assert memory_pass() is None
    found = memory_pass(of_memory_pass("m1", 3_000_000, None, 3_000_004, memory_method="hwm"))
    assert found == BaselineMemory(method="hwm", samples={"peak_rss_delta": [3_000_000, 3_000_004]})
    assert memory_pass(of_memory_pass("m1", 3_000_000, error=CRASH)) is None
    assert memory_pass(of_memory_pass("m1", None)) is None
    again = (of_memory_pass("m1", 3_000_000), rounds("r2", attempt=1), of_memory_pass("m2", 5_000_000, attempt=1))
    found = memory_pass(*again)
    assert found is not None and found.samples["peak_rss_delta"] == [5_000_000], "of the last attempt"


def test_what_a_memory_pass_holds_is_named_among_the_metrics() -> None:
    record = made(worker(), worker("w2", role="memory"), rounds("r1"), of_memory_pass("m1", 3_000_000))
    assert "peak_rss_delta" in {metric.name for metric in record.metrics}
    assert record.cells_with_memory_pass == {"a-tcp"}


def test_only_the_last_attempt_enters() -> None:
    again = rounds("r2", latencies_ms=(300,), attempt=1)
    assert latencies(made(worker(), rounds("r1"), again, verdict(attempt=1))) == [0.3]
    assert latencies(made(worker(), again, rounds("r1"))) == [0.3]
    failed = rounds("r2", latencies_ms=(300,), attempt=1, error=CRASH)
    with pytest.raises(StoreError, match="no cell has a finished block"):
        made(worker(), rounds("r1"), failed)


def test_the_verdict_of_the_last_attempt_tells_the_checks() -> None:
    failed = [CheckResult(name="valid", passed=False, message="no")]
    cell = made(worker(), rounds(), verdict("v2", attempt=1), verdict("v1", checks=failed)).cell("a-tcp")
    assert cell is not None and cell.checks == {"valid": True}


def test_blocks_of_several_processes_stand_in_order() -> None:
    starts = [worker("w1"), worker("w2", values={"load_time": 2_000_000_000})]
    blocks = [
        rounds("r1", latencies_ms=(1, 2), pair=0, outputs=["one"]),
        rounds("r2", latencies_ms=(3,), worker="w2", pair=1, outputs=["two"]),
        rounds("r3", latencies_ms=(4,), worker="w2", pair=1, outputs=["one"]),
    ]
    record = made(*starts, *blocks)
    cell = record.cell("a-tcp")
    assert cell is not None
    assert (cell.rounds, cell.processes, cell.pairs) == (4, [2, 2], (0, 0, 1, 1))
    assert (cell.output_of_round, len(cell.outputs)) == ([0, 0, 1, 0], 2)
    assert record.worker_values("a", "load_time") == [1.5, 2.0]


def test_rounds_that_make_one_sample_are_kept_as_their_mean() -> None:
    block = rounds(
        latencies_ms=(1, 3, 5, 6, 9),
        repeats=2,
        outputs=["one", "two"],
        output_of_round=[0, 1, 1, 1, 0],
        noisy=["", "", "", "x", "x"],
    )
    block = replace(
        block, values={**block.values, "ttft": [None, 4_000_000, None, None, 1], "peak_rss": [7, 7, 7, 8, 9]}
    )
    record = made(worker(), block, rounds("r2", latencies_ms=(9,), repeats=2, worker="w2"), worker("w2"))
    cell = record.cell("a-tcp")
    assert cell is not None
    assert (cell.rounds, cell.repeats, cell.processes, cell.noisy_rounds) == (2, 2, [2], 1)
    assert cell.samples["latency"] == [2_000_000, 5_500_000]
    assert cell.samples["ttft"] == [4_000_000, None]
    assert cell.samples["peak_rss"] == [7, 7.5]
    assert (cell.output_of_round, len(cell.outputs)) == ([0, 1], 2)


def test_what_a_block_made_known_belongs_to_its_process() -> None:
    record = made(worker(), rounds(worker_values={"first_inference_time": 7_000_000_000}))
    assert record.worker_values("a", "first_inference_time") == [7.0]


def test_only_what_can_be_compared_is_kept() -> None:
    cell = made(worker(), rounds()).cell("a-tcp")
    assert cell is not None
    assert set(cell.samples) == {"latency", "ttft", "peak_rss", "output_tokens"}  # and no cpu_percent


def test_a_number_that_is_missing_stays_missing() -> None:
    block = rounds(latencies_ms=(100, 200))
    gaps = replace(block, values={**block.values, "ttft": [None, 5_000_000], "gpu_peak_allocated": [None, None]})
    record = made(worker(), gaps)
    cell = record.cell("a-tcp")
    assert cell is not None
    assert cell.samples["ttft"] == [None, 5_000_000]
    assert "gpu_peak_allocated" not in cell.samples
    assert record.values(cell, "ttft") == [0.005]
    assert record.values(cell, "gpu_peak_allocated") == []


def test_times_are_rounded_and_sizes_are_not() -> None:
    block = rounds(latencies_ms=(100,))
    exact = replace(block, values={"latency": [1_234_567_891], "peak_rss": [1_234_567_891]})
    cell = made(worker(), exact).cell("a-tcp")
    assert cell is not None and cell.samples == {"latency": [1_234_570_000], "peak_rss": [1_234_567_891]}


def test_blocks_that_one_test_measured_for_others_go_to_the_tests_that_judge_them() -> None:
    asked = "inference::a-dns"
    blocks = [rounds("r1", prompt_id="dns", test=asked), rounds("r2", prompt_id="tcp", test=asked)]
    record = made(worker(), *blocks, verdict("v1", prompt_id="dns"), verdict("v2", prompt_id="tcp"))
    assert [(cell.id, cell.test, cell.checks) for cell in record.newest.cells] == [
        ("a-dns", "inference::a-dns", {"valid": True}),
        ("a-tcp", "inference::a-tcp", {"valid": True}),
    ]


def test_two_tests_of_one_cell_have_one_entry_each() -> None:
    record = made(worker(), rounds("r1"), rounds("r2", test="test_x.py::test[a-tcp]", latencies_ms=(7,)))
    assert [cell.test for cell in record.newest.cells] == ["inference::a-tcp", "test_x.py::test[a-tcp]"]
    found = record.cell("a-tcp", "test_x.py::test[a-tcp]")
    assert found is not None and found.rounds == 1
    found = record.cell("a-tcp", "a test that is new")
    assert found is not None and found.rounds == 3


def test_rows_are_kept_whole_so_that_they_can_be_asked_again() -> None:
    row = Prompt(
        id="tcp", messages=(Message(role="user", content="What is TCP?"),), tags=("gate",), reference="A protocol."
    )
    other = replace(row, messages=(Message(role="user", content="Another question"),))
    block = rounds(prompt=row.shown, prompt_sha256=prompt_sha256(row), templated=True)
    record = baseline_of_log([header(), worker(), block], "main", prompts=[other, row])
    cell = record.cell("a-tcp")
    assert cell is not None
    assert (cell.model, record.prompts[cell.prompt]) == ("a", row)
    unknown = baseline_of_log([header(), worker(), block], "main")
    assert list(unknown.prompts.values()) == [Prompt(id="tcp", text=row.shown)]


def test_lock_files_of_the_project(tmp_path: Path) -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "uv.lock", "other.lock"):
        tmp_path.joinpath(name).write_text(name, "utf-8")
    tmp_path.joinpath("poetry.lock").mkdir()
    assert lock_files(tmp_path) == {
        name: hashlib.sha256(name.encode()).hexdigest()
        for name in ("requirements-dev.txt", "requirements.txt", "uv.lock")
    }
    record = baseline_of_log([header(), worker(), rounds()], "main", project=tmp_path)
    assert set(record.newest.origin.lock_files) == {"requirements-dev.txt", "requirements.txt", "uv.lock"}


def test_settings_that_the_numbers_depend_on() -> None:
    record = made(worker(), rounds(), settings={"rounds": 3, "output": "somewhere", "threads": 2})
    assert record.newest.origin.settings == {"rounds": 3, "threads": 2}
    assert record.newest.origin.command == ["pytest", "--llmci"]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "x" * 101])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is no name of a baseline; write letters, digits"):
        baseline_of_log([header(), worker(), rounds()], name)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([worker(), rounds()], "a log without a header"),
        ([header(), worker()], "no cell has a finished block"),
        ([header(), worker(), rounds(contended=True)], "measure without --llmci-timing=parallel"),
    ],
)
def test_nothing_to_keep_is_one_line(records: list[LogRecord], message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        baseline_of_log(records, "main")
    assert len(str(caught.value).splitlines()) == 1
