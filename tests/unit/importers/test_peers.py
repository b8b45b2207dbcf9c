"""Files that the tools themselves have written. They are no part of the repository: ``LLMCI_PEER_RESULTS`` names their folder."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from importing import imported, read

from pytest_llmci.errors import ConfigError

FOLDER = Path(os.environ.get("LLMCI_PEER_RESULTS") or Path(__file__).parents[4] / "shared/data/peers")
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no results of other tools here")
NOT_RESULTS = (
    "asv/*", "deepeval/*", "inspect_ai/*", "promptfoo/*/*", "lm-eval/*.txt", "mlperf/*accuracy*", "mlperf/*detail*",
    "vllm-bench-serve/serving-tests.json",
)  # fmt: skip


def files(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in FOLDER.glob(pattern) if path.is_file())


def content(path: Path) -> Any:
    return json.loads(path.read_bytes())


def ids(path: Path) -> str:
    return path.name[:40]


@pytest.mark.parametrize("path", files(*NOT_RESULTS), ids=ids)
def test_what_is_no_result_of_a_known_tool_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="is of no tool that is known here"):
        read(path)


@pytest.mark.parametrize("path", files("pytest-benchmark/*"), ids=ids)
def test_pytest_benchmark(path: Path, tmp_path: Path) -> None:
    report = imported(tmp_path, path)
    assert [cell.prompt for cell in report.cells] == [each["fullname"] for each in content(path)["benchmarks"]]
    for cell, raw in zip(report.cells, content(path)["benchmarks"], strict=True):
        assert cell.values("latency_median") == [raw["stats"]["median"]]
        assert cell.values("sample_size") == [raw["stats"]["rounds"]]
        assert cell.why_missing("latency") == "the file has only aggregates"


@pytest.mark.parametrize("path", files("llama-bench/*.json"), ids=ids)
def test_llama_bench(path: Path, tmp_path: Path) -> None:
    report = imported(tmp_path, path)
    for cell, raw in zip(report.cells, content(path), strict=True):
        assert cell.values("latency") == pytest.approx([each / 1e9 for each in raw["samples_ns"]])
        metric = "tokens_per_s" if raw["n_gen"] else "prefill_tokens_per_s"
        assert cell.values(metric) == raw["samples_ts"]
    assert report.header.environment["cpu_model"] == content(path)[0]["cpu_info"]


@pytest.mark.parametrize("path", files("llama-bench/*.csv"), ids=ids)
def test_llama_bench_csv_whose_header_lacks_a_column(path: Path, tmp_path: Path) -> None:
    report = imported(tmp_path, path)
    rows = list(csv.reader(path.read_text().splitlines()))[1:]
    means = [cell.values("latency_mean")[0] for cell in report.cells]
    assert means == pytest.approx([int(row[-4]) / 1e9 for row in rows])
    assert [cell.prompt_id for cell in report.cells] == ["pp512", "tg128"]


@pytest.mark.parametrize("path", files("vllm-bench-serve/1p3d*"), ids=ids)
def test_vllm_serve(path: Path, tmp_path: Path) -> None:
    [cell] = imported(tmp_path, path).cells
    raw = content(path)
    assert cell.verdict == "pass"
    assert cell.values("output_throughput") == [raw["output_throughput"]]
    assert cell.values("ttft_p99") == pytest.approx([raw["p99_ttft_ms"] / 1000])


def test_the_serving_run_of_which_most_failed_is_failed_and_never_fast(tmp_path: Path) -> None:
    report = imported(tmp_path, *files("vllm-bench-serve/vllm-serving-detailed-truncated.json"))
    [cell] = report.cells
    assert cell.error is not None
    assert cell.error.message == "17 of 1,000 requests completed"
    assert "TransferEncodingError" in cell.error.facts["first error"]
    assert cell.columns.samples() == {}


def test_serving_runs_that_answer_at_other_lengths_are_no_repetitions(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"but their answers have \d+ and \d+ tokens"):
        imported(tmp_path, *files("vllm-bench-serve/1p3d_conc128_in2048*"))


@pytest.mark.parametrize("path", files("vllm-bench-csv/*"), ids=ids)
def test_vllm_table(path: Path, tmp_path: Path) -> None:
    report = imported(tmp_path, path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [cell.values("sample_size") for cell in report.cells] == [[int(row["Successful requests"])] for row in rows]
    assert [cell.values("ttft_median")[0] for cell in report.cells] == pytest.approx(
        [float(row["Median TTFT (ms)"]) / 1000 for row in rows]
    )


@pytest.mark.parametrize("path", files("vllm-bench-latency/*"), ids=ids)
def test_vllm_latency(path: Path, tmp_path: Path) -> None:
    [cell] = imported(tmp_path, path).cells
    assert cell.values("latency") == pytest.approx(content(path)["latencies"])


@pytest.mark.parametrize("path", files("vllm-bench-throughput/*"), ids=ids)
def test_vllm_throughput(path: Path, tmp_path: Path) -> None:
    [cell] = imported(tmp_path, path).cells
    assert cell.values("total_throughput") == [content(path)["tokens_per_second"]]


@pytest.mark.parametrize("path", files("lm-eval/*.json"), ids=ids)
def test_lm_eval(path: Path, tmp_path: Path) -> None:
    report = imported(tmp_path, path)
    raw = content(path)["results"]
    shares = sum(measure in ("acc", "acc_norm") for task in raw.values() for measure in task)
    assert sum(len(cell.values("task_score")) for cell in report.cells) == shares
    [arc] = [cell for cell in report.cells if cell.prompt_id == "arc_challenge-acc_norm"]
    assert arc.values("task_score") == [raw["arc_challenge"]["acc_norm"]]
    assert arc.values("score_stderr") == [raw["arc_challenge"]["acc_norm_stderr"]]


@pytest.mark.parametrize("path", files("llmperf/summary*"), ids=ids)
def test_llmperf_summary(path: Path, tmp_path: Path) -> None:
    [cell] = imported(tmp_path, path).cells
    raw = content(path)
    assert cell.values("latency_p90") == [raw["results_end_to_end_latency_s_quantiles_p90"]]
    assert (cell.verdict == "failed") == bool(raw["results_number_errors"])


@pytest.mark.parametrize("path", files("llmperf/individual*"), ids=ids)
def test_llmperf_requests(path: Path, tmp_path: Path) -> None:
    [cell] = imported(tmp_path, path).cells
    assert cell.values("ttft") == pytest.approx([each["ttft_s"] for each in content(path)])


@pytest.mark.parametrize("path", files("mlperf/*log_summary.txt", "mlperf/v0.5*"), ids=ids)
def test_loadgen(path: Path, tmp_path: Path) -> None:
    [cell] = imported(tmp_path, path).cells
    assert cell.verdict == "pass"
    assert len(cell.values("latency_p99")) == 1
