"""GuideLLM, AIPerf, LLMPerf and MLPerf LoadGen."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_files import (
    aiperf,
    aiperf_request,
    guidellm,
    llmperf_request,
    llmperf_summary,
    mlperf,
    save,
    save_lines,
)
from importing import imported, read

from pytest_llmci.engine.imported import ONLY_AGGREGATES


def test_guidellm_has_a_cell_a_benchmark_and_one_of_its_requests(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "benchmarks.json", guidellm()))
    whole, requests = report.cells
    assert (whole.prompt_id, requests.prompt_id) == ("concurrent-2", "concurrent-2-requests")
    assert (whole.values("output_throughput"), whole.values("ttft_p95")) == ([48.0], [0.1])
    assert whole.values("latency_median") == [2.0]
    assert (whole.values("requests"), whole.values("incomplete_requests")) == ([5], [1])
    assert requests.values("latency") == [2.0, 2.1, 2.2, 2.3]
    assert requests.values("itl") == [0.02] * 4
    assert report.models[0].alias == "Guided-8B"


def test_guidellm_requests_that_it_cut_itself_are_no_failure_and_errors_are(tmp_path: Path) -> None:
    assert imported(tmp_path, save(tmp_path / "a.json", guidellm(incomplete=3))).cells[0].verdict == "pass"
    [cell] = imported(tmp_path, save(tmp_path / "b.json", guidellm(errored=1))).cells
    assert cell.error is not None
    assert (cell.error.message, cell.error.facts) == ("1 of 6 requests failed", {"first error": "refused"})


def test_guidellm_noughts_of_no_request_are_no_numbers(tmp_path: Path) -> None:
    data = guidellm()
    data["benchmarks"][0]["metrics"]["time_to_first_token_ms"]["successful"] = {
        "mean": 0.0,
        "median": 0.0,
        "count": 0,
        "percentiles": {},
    }
    whole = imported(tmp_path, save(tmp_path / "a.json", data)).cells[0]
    assert whole.values("ttft_mean") == []
    assert whole.why_missing("ttft_mean") == "time_to_first_token_ms.successful is of no request"


def test_guidellm_of_older_versions_counts_its_requests_elsewhere(tmp_path: Path) -> None:
    data = guidellm()
    benchmark = data["benchmarks"][0]
    benchmark["run_stats"] = {"requests_made": {"successful": 1, "errored": 2, "incomplete": 0, "total": 3}}
    del benchmark["metrics"]["request_totals"]
    [cell] = imported(tmp_path, save(tmp_path / "a.json", data)).cells
    assert cell.error is not None
    assert cell.error.message == "2 of 3 requests failed"


def test_more_requests_cut_than_completed_are_a_failed_run(tmp_path: Path) -> None:
    few = imported(tmp_path, save(tmp_path / "a.json", guidellm(good=17, incomplete=17))).cells[0]
    [many] = imported(tmp_path, save(tmp_path / "b.json", guidellm(good=17, incomplete=983))).cells
    assert few.verdict == "pass"
    assert many.error is not None
    assert many.error.message == "17 of 1,000 requests completed"
    [cell] = imported(tmp_path, save(tmp_path / "c.json", llmperf_summary(results_num_completed_requests=4))).cells
    assert cell.error is not None
    assert cell.error.message == "4 of 10 requests completed"
    [cell] = imported(tmp_path, save(tmp_path / "d.json", llmperf_summary(results_num_completed_requests=7))).cells
    assert (cell.verdict, cell.values("incomplete_requests")) == ("pass", [3])


def test_aiperf_units_are_those_that_it_writes(tmp_path: Path) -> None:
    data = aiperf(
        request_latency={"unit": "sec", "avg": 2.5, "p50": 2.4}, time_to_first_token={"unit": "furlong", "avg": 3}
    )
    report = imported(tmp_path, save(tmp_path / "a.json", data))
    [cell] = report.cells
    assert (cell.values("latency_mean"), cell.values("latency_median")) == ([2.5], [2.4])
    assert cell.values("ttft_mean") == []
    assert cell.why_missing("ttft_mean") == "time_to_first_token.avg is in 'furlong', which is no unit of it"
    assert (cell.values("tpot_median"), cell.values("tpot_p99")) == ([0.02], [0.04])
    assert (cell.values("output_throughput"), cell.values("duration")) == ([150.0], [13.5])
    assert (report.models[0].alias, cell.prompt_id) == ("Perf-8B", "profile-concurrency-4-request_count-20")
    assert report.header.started == "2026-02-03T04:05:06.000Z"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (aiperf(18, 2), "2 of 20 requests failed"),
        (aiperf(was_cancelled=True), "the run was cancelled"),
        (aiperf(error_request_count={"unit": "requests", "avg": 3.0}), "3 of 23 requests failed"),
        (aiperf(0), "no request completed"),
    ],
)
def test_aiperf_errors_fail_the_run(tmp_path: Path, data: dict[str, object], said: str) -> None:
    [cell] = imported(tmp_path, save(tmp_path / "a.json", data)).cells
    assert cell.error is not None
    assert cell.error.message == said


def test_aiperf_single_requests_are_rounds_without_warm_up_and_cancelled_ones(tmp_path: Path) -> None:
    lines = [
        aiperf_request(900.0, phase="warmup"), aiperf_request(300.0), aiperf_request(0.01, cancelled=True, error="Cancelled"),
        aiperf_request(310.0),
    ]  # fmt: skip
    [file] = read(save_lines(tmp_path / "profile_export.jsonl", lines))
    assert list(file.cells[0].values["latency"]) == [0.3, 0.31]
    assert list(file.cells[0].values["output_tokens"]) == [11, 11]
    assert "1 of 3 requests, which the tool cancelled itself, are left out" in file.notes
    [cell] = imported(tmp_path, save_lines(tmp_path / "p.jsonl", [*lines, aiperf_request(1.0, error="Busy")])).cells
    assert cell.error is not None
    assert (cell.error.message, cell.error.facts) == ("1 of 4 requests failed", {"first error": "Busy boom"})


def test_llmperf_summary_is_one_cell_of_statistics(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", llmperf_summary()))
    [cell] = report.cells
    assert (cell.prompt_id, report.models[0].alias) == ("in550-out150-c5", "Chat-7B")
    assert (cell.values("latency_median"), cell.values("ttft_p99")) == ([3.0], [0.25])
    assert (cell.values("request_throughput"), cell.values("output_throughput")) == ([1.5], [200.0])
    assert cell.values("output_tokens_min") == [150]
    assert cell.why_missing("latency") == ONLY_AGGREGATES
    assert report.header.started == "2026-02-02T02:40:00.000Z"


def test_llmperf_errors_fail_the_run(tmp_path: Path) -> None:
    [cell] = imported(tmp_path, save(tmp_path / "a.json", llmperf_summary(results_number_errors=4))).cells
    assert cell.error is not None
    assert cell.error.message == "4 of 10 requests failed"
    [cell] = imported(tmp_path, save(tmp_path / "b.json", llmperf_summary(results_num_completed_requests=0))).cells
    assert cell.error is not None
    assert cell.error.message == "none of 10 requests completed"


def test_llmperf_single_requests_are_rounds_and_those_with_an_error_never_are(tmp_path: Path) -> None:
    [cell] = imported(tmp_path, save(tmp_path / "a.json", [llmperf_request(3.0), llmperf_request(3.5)])).cells
    assert (cell.values("latency"), cell.values("output_tokens")) == ([3.0, 3.5], [150, 150])
    assert cell.values("itl") == []
    [cell] = imported(
        tmp_path, save(tmp_path / "b.json", [llmperf_request(3.0), llmperf_request(0.01, error=429)])
    ).cells
    assert cell.error is not None
    assert (cell.error.message, cell.error.facts) == ("1 of 2 requests failed", {"first error": "429: slow down"})
    assert cell.values("latency") == []


def test_loadgen_summary_in_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "mlperf_log_summary.txt"
    path.write_text(mlperf())
    [cell] = imported(tmp_path, path).cells
    assert (cell.prompt_id, cell.verdict) == ("Server-PerformanceOnly", "pass")
    assert (cell.values("latency_median"), cell.values("ttft_mean"), cell.values("tpot_mean")) == (
        [3.9],
        [0.25],
        [0.03],
    )
    assert (cell.values("output_throughput"), cell.values("request_throughput")) == ([2475.5], [8.25])
    [file] = read(path)
    assert file.cells[0].asked["target_qps"] == "8.5"
    assert "qsl_rng_seed" not in file.cells[0].asked


@pytest.mark.parametrize(
    ("text", "said", "facts"),
    [
        (
            mlperf("INVALID"),
            "LoadGen calls the result INVALID, not VALID",
            {"not satisfied": "performance constraints satisfied"},
        ),
        (mlperf(mode="AccuracyOnly"), "the mode was AccuracyOnly: only a performance run has times that count", {}),
    ],
)
def test_loadgen_results_that_do_not_count_have_failed(
    tmp_path: Path, text: str, said: str, facts: dict[str, str]
) -> None:
    path = tmp_path / "mlperf_log_summary.txt"
    path.write_text(text)
    [cell] = imported(tmp_path, path).cells
    assert cell.error is not None
    assert (cell.error.message, cell.error.facts) == (said, facts)
    assert cell.columns.samples() == {}
