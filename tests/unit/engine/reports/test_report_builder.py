from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from sample_run import CRASH, header, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import LogTamperedError, StoreError
from pytest_llmci.records import CheckResult, ErrorInfo, GateRecord, LogRecord, Missing
from pytest_llmci.store.log import LogWriter


def report_of(folder: Path, records: list[LogRecord], *, footer: bool = True) -> SessionReport:
    write_log(folder, records, footer=footer)
    return build_report(folder)


def test_a_crashed_block_is_in_no_statistic(tmp_path: Path) -> None:
    report = report_of(tmp_path, usual_records())
    model = report.model("b")
    assert (model.rounds, model.failed_cells, model.valid_cells, model.checked_cells, model.deaths) == (0, 1, 0, 1, 1)
    cell = model.cells[0]
    assert (cell.verdict, cell.error, cell.blocks, cell.values("latency")) == ("failed", CRASH, 1, [])
    assert cell.summary("latency").median == Missing(CRASH.message)
    assert [report.status(block) for block in report.blocks] == ["ok", "ok", "unused"]


def test_blocks_of_a_cell_that_finished_count_beside_one_that_crashed(tmp_path: Path) -> None:
    report = report_of(
        tmp_path,
        [rounds("r1", latencies_ms=(100,)), rounds("r2", latencies_ms=(900,), error=CRASH, block=1, first_round=1)],
    )
    assert report.cells[0].values("latency") == [0.1]


def test_each_process_dies_once(tmp_path: Path) -> None:
    load = ErrorInfo(kind="load", message="no such file")
    report = report_of(
        tmp_path,
        [
            worker("w1", error=ErrorInfo(kind="timeout", message="took too long")),
            rounds("r1", latencies_ms=(), error=CRASH, worker="w2"),
            rounds("r2", prompt_id="dns", latencies_ms=(), error=CRASH, worker="w2"),
            worker("w3", error=load, values={}, info={}, reasons={"load_time": "it was not loaded"}),
        ],
    )
    assert (report.models[0].starts, report.models[0].deaths) == (2, 2)


def test_where_no_process_was_nobody_died(tmp_path: Path) -> None:
    """One death while loading, then a cell that was not run."""
    given_up = ErrorInfo(kind="given_up", message="not run: a died 2 times in a row")
    report = report_of(
        tmp_path,
        [
            worker("w1", error=CRASH),
            rounds("r1", latencies_ms=(), error=CRASH, worker=""),
            rounds("r2", prompt_id="dns", latencies_ms=(), error=given_up, worker=""),
        ],
    )
    assert (report.models[0].starts, report.models[0].deaths) == (1, 1)


def test_single_calls_are_listed_and_kept_out(tmp_path: Path) -> None:
    report = report_of(tmp_path, [rounds("r1"), rounds("r2", latencies_ms=(9000,), origin="call", prompt_id="own")])
    assert [report.status(block) for block in report.blocks] == ["ok", "call"]
    assert report.models[0].rounds == 3
    own = report.cells[1]
    assert (own.id, own.rounds, own.blocks, own.values("latency")) == ("a-own", 0, 1, [])


def test_only_the_last_attempt_counts(tmp_path: Path) -> None:
    failed = verdict("v1", verdict="failed", checks=[CheckResult(name="valid", passed=False, message="empty")])
    records: list[LogRecord] = [
        rounds("r1", latencies_ms=(900,)),
        failed,
        rounds("r2", latencies_ms=(100,), attempt=1),
        rounds("r3", latencies_ms=(120,), attempt=1, block=1, first_round=1),
        verdict("v2", attempt=1),
    ]
    for order in (records, records[::-1]):
        folder = tmp_path / order[0].TYPE
        folder.mkdir()
        report = report_of(folder, order)
        (cell,) = report.cells
        assert sorted(cell.values("latency")) == [0.1, 0.12]
        assert (cell.verdict, cell.attempt, cell.valid, cell.blocks) == ("pass", 1, True, 3)
        assert {block.uid: report.status(block) for block in report.blocks} == {
            "r1": "superseded",
            "r2": "ok",
            "r3": "ok",
        }
        assert report.models[0].failed_cells == 0


def test_a_rerun_that_measured_nothing_leaves_the_numbers(tmp_path: Path) -> None:
    report = report_of(tmp_path, [rounds("r1", latencies_ms=(100,)), verdict("v1"), verdict("v2", attempt=1)])
    assert report.cells[0].values("latency") == [0.1]


def test_a_record_that_arrives_twice_is_counted_once(tmp_path: Path) -> None:
    block = rounds("r1", latencies_ms=(100,))
    report = report_of(tmp_path, [worker("w1"), worker("w1"), block, block, verdict("v1"), verdict("v1")])
    assert report.models[0].starts == 1
    assert report.cells[0].values("latency") == [0.1]
    assert [found.uid for found in report.blocks] == ["r1"]
    assert len(report.cells) == 1


def test_two_tests_of_one_cell_are_two_summaries(tmp_path: Path) -> None:
    report = report_of(
        tmp_path,
        [
            rounds("r1", latencies_ms=(100,), test="test_x.py::test_one"),
            verdict("v1", test="test_x.py::test_one"),
            rounds("r2", latencies_ms=(200,), test="test_x.py::test_two"),
            verdict("v2", test="test_x.py::test_two", verdict="failed"),
        ],
    )
    assert [(cell.id, cell.test[-3:], cell.verdict) for cell in report.cells] == [
        ("a-tcp", "one", "pass"),
        ("a-tcp", "two", "failed"),
    ]
    assert report.models[0].values("latency") == [0.1, 0.2]


def test_blocks_that_one_test_measured_for_all_go_to_the_tests_that_judge(tmp_path: Path) -> None:
    first = "inference::a-tcp"
    report = report_of(
        tmp_path,
        [
            rounds("r1", prompt_id="tcp", latencies_ms=(100,), test=first),
            rounds("r2", prompt_id="dns", latencies_ms=(200,), test=first),
            verdict("v1", prompt_id="tcp"),
            verdict("v2", prompt_id="dns"),
        ],
    )
    assert [(cell.id, cell.test, cell.values("latency")) for cell in report.cells] == [
        ("a-tcp", first, [0.1]),
        ("a-dns", "inference::a-dns", [0.2]),
    ]


def test_a_cell_that_was_never_measured_is_there_with_its_error(tmp_path: Path) -> None:
    load = ErrorInfo(kind="load", message="no such model")
    report = report_of(tmp_path, [verdict(verdict="failed", checks=[], error=load, rounds=0)])
    (cell,) = report.cells
    assert (cell.verdict, cell.error, cell.blocks, cell.checked, cell.valid) == ("failed", load, 0, True, False)
    assert report.models[0].summary("latency").median == Missing("this model has no measured round")


def test_a_killed_session_has_cells_without_verdict(tmp_path: Path) -> None:
    report = report_of(tmp_path, [rounds("r1", error=CRASH, latencies_ms=())], footer=False)
    assert (report.footer, report.recovered) == (None, False)
    assert (report.cells[0].verdict, report.cells[0].error) == (None, CRASH)


def test_what_a_block_made_known_of_its_process_joins_the_start(tmp_path: Path) -> None:
    late = rounds("r1", worker_values={"first_inference_time": 2_000_000_000})
    report = report_of(tmp_path, [worker(), late, late, rounds("r2")])
    assert report.model("a").values("first_inference_time") == [2.0]
    assert report.model("a").values("load_time") == [1.5]


def test_the_memory_pass_is_apart(tmp_path: Path) -> None:
    passed = rounds("m1", origin="memory", worker="w2", values={"peak_rss_delta": [5.0, 7.0, 6.0]}, noisy=["x"] * 3)
    start = worker("w2", role="memory", values={"load_time": 9_000_000_000}, info={"of": "the pass"})
    report = report_of(tmp_path, [worker(), rounds("r1", noisy=["x", "", ""]), start, passed, verdict()])
    (cell,) = report.cells
    assert (cell.rounds, cell.noisy_rounds, cell.values("latency")) == (3, 1, [0.1, 0.12, 0.11])
    assert cell.values("peak_rss_delta") == [5.0, 7.0, 6.0]
    model = report.model("a")
    assert (model.starts, model.values("load_time")) == (2, [1.5])
    assert "of" not in model.info
    assert [report.status(block) for block in report.blocks] == ["ok", "memory"]


def test_gates_are_listed(tmp_path: Path) -> None:
    gate = GateRecord(name="coverage", outcome="failed", message="nothing was measured")
    assert report_of(tmp_path, [gate]).gates == (gate,)


def test_a_running_session_can_be_reported(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    writer.append(rounds())
    assert build_report(tmp_path).models[0].rounds == 3
    writer.release()


def test_outputs_are_known_by_their_hashes(tmp_path: Path) -> None:
    block = rounds(latencies_ms=(100, 110), outputs=["one", "two"], output_of_round=[0, 1])
    cell = report_of(tmp_path, [block, rounds("r2", outputs=["two"], latencies_ms=(100,))]).cells[0]
    assert cell.prompt == block.prompt
    assert [(output.text, output.md5, output.sha256) for output in cell.outputs] == list(
        zip(block.outputs, block.md5, block.output_sha256, strict=True)
    )
    assert [output.finish_reason for output in cell.outputs] == block.finish_reasons


def test_a_changed_log_is_not_reported(tmp_path: Path) -> None:
    path = write_log(tmp_path, usual_records())
    path.write_bytes(path.read_bytes().replace(b"120000000", b"020000000"))
    with pytest.raises(LogTamperedError, match="line 3"):
        build_report(tmp_path)
    with pytest.raises(StoreError, match="cannot be read"):
        build_report(tmp_path / "nowhere")


def test_numbers_take_little_memory(tmp_path: Path) -> None:
    cells = [f"p{number}" for number in range(300)]
    blocks = [rounds(f"r-{cell}", prompt_id=cell, latencies_ms=tuple(range(1, 101))) for cell in cells]
    write_log(tmp_path, [*blocks, *(verdict(f"v-{cell}", prompt_id=cell) for cell in cells)])
    tracemalloc.start()
    report = build_report(tmp_path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.models[0].rounds == 30_000
    assert held / 30_000 < 5 * 8 * 2.5  # five metrics of eight bytes a round, and what a cell takes
