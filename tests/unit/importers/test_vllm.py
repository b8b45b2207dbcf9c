from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from foreign_files import save, save_lines, vllm_latency, vllm_serve, vllm_throughput
from importing import imported, read

from pytest_llmci.engine.imported import ONLY_AGGREGATES
from pytest_llmci.errors import ConfigError

TABLE = (
    "Successful requests,Benchmark duration (s),Total input tokens,Total generated tokens,Request throughput (req/s),"
    "Output token throughput (tok/s),Total Token throughput (tok/s),Mean TTFT (ms),Median TTFT (ms),P99 TTFT (ms)\n"
)


def test_a_serving_run_is_one_round_of_its_own_numbers_in_si(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", vllm_serve()))
    [cell] = report.cells
    assert cell.prompt_id == "serve-4-in100-rinf-c2"
    assert (cell.rounds, cell.verdict) == (1, "pass")
    found = {
        name: cell.values(name) for name in ("output_throughput", "ttft_median", "tpot_p99", "duration", "requests")
    }
    assert found == {
        "output_throughput": [32.0],
        "ttft_median": [0.1],
        "tpot_p99": [0.02],
        "duration": [2.0],
        "requests": [4],
    }
    assert cell.why_missing("ttft") == ONLY_AGGREGATES
    assert cell.values("output_tokens_mean") == [16]
    assert report.models[0].alias == "Served-7B"


def test_single_requests_are_rounds_of_a_cell_of_their_own(tmp_path: Path) -> None:
    cells = imported(tmp_path, save(tmp_path / "a.json", vllm_serve(detailed=True))).cells
    assert [cell.prompt_id for cell in cells] == [
        "serve-4-in100-rinf-c2",
        "serve-4-in100-rinf-c2-requests",
    ]
    requests = cells[1]
    assert requests.values("ttft") == [0.1, 0.101, 0.102, 0.103]
    assert requests.values("latency") == pytest.approx([0.4, 0.401, 0.402, 0.403])
    assert requests.values("tpot") == pytest.approx([0.02] * 4)
    assert requests.values("tokens_per_s")[0] == pytest.approx(16 / 0.4)
    assert (requests.values("output_tokens"), requests.values("prompt_tokens")) == ([16] * 4, [100] * 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"completed": 1}, "1 of 4 requests completed"),
        ({"completed": 3, "failed": 1}, "1 of 4 requests failed"),
        ({"completed": 0}, "none of 4 requests completed"),
        ({"total_output_tokens": 0}, "no token was generated"),
    ],
)
def test_a_run_that_lost_requests_has_failed_and_no_time_of_it_is_kept(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", {**vllm_serve(detailed=True), **changes}))
    [cell] = report.cells
    assert cell.verdict == "failed"
    assert cell.error is not None
    assert cell.error.message == said
    assert (cell.rounds, cell.columns.samples()) == (0, {})
    assert report.footer is not None
    assert report.footer.exit_status == 1


def test_the_last_line_of_the_first_traceback_is_the_evidence(tmp_path: Path) -> None:
    [cell] = imported(tmp_path, save(tmp_path / "a.json", vllm_serve(completed=1, detailed=True))).cells
    assert cell.error is not None
    assert cell.error.facts == {"requests": "4", "completed": "1", "first error": "boom: no"}


def test_times_of_requests_with_an_error_never_enter(tmp_path: Path) -> None:
    data = vllm_serve(detailed=True, num_prompts=4, completed=4)
    data["errors"][2] = "cut"
    data["ttfts"][3] = 0.0
    cells = imported(tmp_path, save(tmp_path / "a.json", data)).cells
    assert cells[1].values("ttft") == [0.1, 0.101]


def test_lists_of_another_length_than_the_run_are_left_out_and_said_so(tmp_path: Path) -> None:
    data = vllm_serve(detailed=True)
    for name in ("ttfts", "itls", "output_lens", "errors"):
        data[name] = data[name][:2]
    [file] = read(save(tmp_path / "a.json", data))
    assert len(file.cells) == 1
    assert "single requests are left out: their lists are not as long as the run has requests" in file.notes


@pytest.mark.parametrize("wrong", ["inf", float("nan"), float("inf"), -3, 0])
def test_a_rate_that_cannot_be_is_missing(tmp_path: Path, wrong: object) -> None:
    [cell] = imported(tmp_path, save(tmp_path / "a.json", vllm_serve(output_throughput=wrong))).cells
    assert cell.values("output_throughput") == []
    assert cell.why_missing("output_throughput").startswith("output_throughput is ")
    assert cell.values("request_throughput") == [2.0]


def test_appended_runs_are_lines_of_one_file(tmp_path: Path) -> None:
    [file] = read(save_lines(tmp_path / "a.jsonl", [vllm_serve(max_concurrency=n) for n in (1, 2)]))
    assert [cell.asked["max_concurrency"] for cell in file.cells] == [1, 2]


def test_a_table_has_a_cell_a_row(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(TABLE + "300,320.5,3000,1500,0.94,140.5,998.5,4545.25,4340.5,9869.75\n0,1,0,0,0,0,0,0,0,0\n")
    good, bad = imported(tmp_path, path).cells
    assert (good.prompt_id, good.values("ttft_median"), good.values("output_tokens_mean")) == ("q-300", [4.3405], [5])
    assert bad.error is not None
    assert bad.error.message == "no request completed"
    path.write_text(TABLE + "300,320.5\n")
    with pytest.raises(ConfigError, match="row 2 has 2 fields and its header 10"):
        read(path)


def test_batches_are_rounds_of_a_cell_named_as_the_file(tmp_path: Path) -> None:
    [cell] = imported(tmp_path, save(tmp_path / "small_in8.json", vllm_latency())).cells
    assert (cell.prompt_id, cell.values("latency")) == ("small_in8", [1.9, 2.0, 2.1])
    [cell] = imported(tmp_path, save(tmp_path / "small_in8.json", vllm_latency(latencies=[]))).cells
    assert (cell.why_missing("latency"), cell.values("latency_p90")) == (ONLY_AGGREGATES, [2.08])
    [cell] = imported(tmp_path, save(tmp_path / "small_in8.json", vllm_latency(latencies=[0, -1]))).cells
    assert cell.verdict == "failed"


def test_a_throughput_file_has_the_rates_and_fails_without(tmp_path: Path) -> None:
    [cell] = imported(tmp_path, save(tmp_path / "t.json", vllm_throughput())).cells
    assert (cell.values("total_throughput"), cell.values("request_throughput")) == ([128.0], [2.0])
    [cell] = imported(tmp_path, save(tmp_path / "t.json", vllm_throughput(tokens_per_second=0))).cells
    assert cell.verdict == "failed"
    [cell] = imported(tmp_path, save(tmp_path / "t.json", vllm_throughput(num_requests=0))).cells
    assert cell.error is not None
    assert cell.error.message == "no request completed"
