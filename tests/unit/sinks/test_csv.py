from __future__ import annotations

import csv
from pathlib import Path

import pytest
from sample_run import METRICS, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import SinkError
from pytest_llmci.metrics import MetricDef
from pytest_llmci.records import ErrorInfo, LogRecord, PublishedScore
from pytest_llmci.sinks.csv import (
    SUMMARY_STATISTICS,
    CsvSink,
    guard_text,
    results_columns,
    summary_columns,
    unguard_text,
)

PAPER = ["model", "prompt", "output", "latency_ms", "memory_mb", "cpu_percent", "hash"]


def tables(folder: Path, records: list[LogRecord]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    write_log(folder, records)
    files = CsvSink().write(build_report(folder), folder)
    assert files == [folder / "results.csv", folder / "summary.csv"]
    return read(files[0]), read(files[1])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_the_papers_columns_come_first() -> None:
    columns = results_columns(list(METRICS))
    assert columns[:7] == PAPER
    assert columns[7:] == [
        *(
            "cell",
            "prompt_id",
            "test",
            "round",
            "status",
            "reason",
            "worker",
            "noisy",
            "finish_reason",
            "seed",
            "provenance",
        ),
        *("latency", "ttft", "peak_rss", "output_tokens", "gpu_peak_allocated", "peak_rss_delta"),
    ]
    assert summary_columns(list(METRICS))[:8] == [
        *("model", "avg_latency", "min_latency", "max_latency", "std_latency", "avg_memory", "avg_cpu"),
        "benchmark_score",
    ]
    for names in (columns, summary_columns(list(METRICS))):
        assert len(set(names)) == len(names)


def test_one_row_a_round(tmp_path: Path) -> None:
    rows, _ = tables(tmp_path, [rounds(first_round=5), verdict()])
    assert len(rows) == 3
    first = rows[0]
    assert [first[name] for name in PAPER] == [
        *("a", "What is TCP?", "An answer.", "100.0", "250.0", "90.5"),
        rounds().md5[0],
    ]
    assert (first["latency"], first["ttft"], first["peak_rss"], first["output_tokens"]) == (
        "0.1",
        "0.01",
        "250000000",
        "50",
    )
    assert first["gpu_peak_allocated"] == ""
    assert (first["cell"], first["round"], first["status"], first["finish_reason"]) == ("a-tcp", "5", "ok", "length")
    assert [row["round"] for row in rows] == ["5", "6", "7"]


def test_a_block_of_one_round_reads_as_that_round_of_several(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (alone,), _ = tables(tmp_path / "one", [worker(), rounds(latencies_ms=(100,)), verdict()])
    (first, _), _ = tables(tmp_path / "two", [worker(), rounds(latencies_ms=(100, 100)), verdict()])
    assert alone == first
    assert alone["latency_ms"] == "100.0"


def test_a_missing_number_is_an_empty_cell(tmp_path: Path) -> None:
    block = rounds(latencies_ms=(100, 110))
    values = {**block.values, "latency": [None, 110_000_000]}
    rows, summary = tables(tmp_path, [rounds(latencies_ms=(100, 110), values=values)])
    assert [(row["latency_ms"], row["latency"]) for row in rows] == [("", ""), ("110.0", "0.11")]
    assert summary[0]["std_latency"] == ""
    assert summary[0]["latency.n"] == "1"


def test_what_failed_has_a_row_with_status_and_reason(tmp_path: Path) -> None:
    load = ErrorInfo(kind="load", message="no such model")
    unloaded = verdict("v9", "c", verdict="failed", checks=[], error=load, rounds=0)
    rows, summary = tables(tmp_path, [*usual_records(), unloaded])
    assert [(row["model"], row["round"], row["status"], row["reason"]) for row in rows[6:]] == [
        ("b", "0", "unused", "its block ended early: in no statistic"),
        ("b", "1", "failed", "crashed: killed by SIGKILL, cause unknown"),
        ("c", "", "failed", "load: no such model"),
    ]
    assert rows[7]["latency"] == rows[7]["output"] == rows[7]["hash"] == ""
    assert rows[7]["prompt"] == "What is TCP?"
    by_model = {row["model"]: row for row in summary}
    assert by_model["b"]["avg_latency"] == by_model["c"]["avg_latency"] == ""
    assert (by_model["b"]["worker_deaths"], by_model["c"]["failed_cells"]) == ("1", "1")


def test_what_is_in_no_statistic_says_so(tmp_path: Path) -> None:
    records = [rounds("r1"), rounds("r2", attempt=1), rounds("r3", prompt_id="own", origin="call")]
    rows, _ = tables(tmp_path, [*records])
    assert [row["status"] for row in rows] == ["superseded"] * 3 + ["ok"] * 3 + ["call"] * 3


def test_one_row_a_model(tmp_path: Path) -> None:
    _, summary = tables(tmp_path, usual_records())
    row = summary[0]
    assert (row["model"], row["spec"]) == ("a", "a=echo")
    assert float(row["avg_latency"]) == pytest.approx(0.155)
    assert (row["min_latency"], row["max_latency"]) == ("0.1", "0.21")
    assert (row["avg_memory"], row["avg_cpu"], row["benchmark_score"]) == ("250000001.0", "90.5", "")
    assert (row["cells"], row["valid_cells"], row["inconclusive_cells"], row["rounds"], row["noisy_rounds"]) == (
        *("2", "2", "1", "6", "1"),
    )
    assert (row["load_time.median"], row["latency.median"], row["latency.p95"]) == ("1.5", "0.155", "")


def test_a_published_score_stands_in_until_one_is_measured_and_says_so(tmp_path: Path) -> None:
    published = PublishedScore(value=42.0, source="=board.csv", name="a")
    _, summary = tables(tmp_path, [worker(published=published), worker("w2"), rounds()])
    row = summary[0]
    assert (row["benchmark_score"], row["benchmark_score_source"]) == ("42.0", "published: =board.csv")
    score = MetricDef(name="score", unit="%", direction="higher", definition="Right answers.")
    block = rounds()
    (tmp_path / "log.jsonl").unlink()
    values = {**block.values, "score": [30.0, 31.0, 32.0]}
    write_log(tmp_path, [worker(published=published), rounds(values=values)], metrics=[*METRICS, score])
    row = read(CsvSink().write(build_report(tmp_path), tmp_path)[1])[0]
    assert (row["benchmark_score"], row["benchmark_score_source"]) == ("31.0", "measured")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "\n=1", "'=1", "＝1"])
def test_no_text_is_a_formula(tmp_path: Path, text: str) -> None:
    rows, _ = tables(tmp_path, [rounds(prompt=text, outputs=[text], latencies_ms=(1,))])
    for column in ("prompt", "output"):
        assert rows[0][column] == "'" + text
        assert unguard_text(rows[0][column]) == text


def test_harmless_text_is_left_alone() -> None:
    assert guard_text("") == ""
    assert guard_text("2 = 1 + 1") == "2 = 1 + 1"


@pytest.mark.parametrize(
    "text",
    [
        'He said "no", twice,\r\nthen left.\n',
        "\x00\x01\x1b[31mred\x1b[0m\x7f",
        "\rlone carriage return\r",
        "漢字 🙂 עברית \u2028 \ufeff",
        ('"\n,\r' + "ü" * 96) * 1000,
    ],
    ids=["quotes", "control", "return", "unicode", "100 kB"],
)
def test_texts_come_back(tmp_path: Path, text: str) -> None:
    rows, _ = tables(tmp_path, [rounds(prompt=text, outputs=[text, text + "2"], output_of_round=[0, 1, 0])])
    assert [unguard_text(row["prompt"]) for row in rows] == [text] * 3
    assert [unguard_text(row["output"]) for row in rows] == [text, text + "2", text]


def test_a_lone_surrogate_leaves_a_readable_file(tmp_path: Path) -> None:
    rows, _ = tables(tmp_path, [rounds(outputs=["a\ud800b"], latencies_ms=(1,))])
    assert rows[0]["output"] == "a\\ud800b"


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    tables(tmp_path, usual_records())
    first = [(tmp_path / name).read_bytes() for name in ("results.csv", "summary.csv")]
    CsvSink(str(tmp_path / "again")).write(build_report(tmp_path), tmp_path)
    assert [(tmp_path / "again" / name).read_bytes() for name in ("results.csv", "summary.csv")] == first


def test_a_run_without_anything_has_headers(tmp_path: Path) -> None:
    assert tables(tmp_path, []) == ([], [])
    assert (tmp_path / "results.csv").read_bytes().startswith(b"model,prompt,output,")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_log(tmp_path, [worker()])
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"results\.csv: cannot be written: "):
        CsvSink(str(tmp_path / "file")).write(build_report(tmp_path), tmp_path)


def test_a_round_without_an_answer_that_was_kept_has_neither_output_nor_hash(tmp_path: Path) -> None:
    block = rounds(outputs=[], md5=[], output_sha256=[], output_of_round=[], provenance="imported")
    results, _ = tables(tmp_path, [worker(), block])
    assert [(row["output"], row["hash"], row["latency"]) for row in results] == [
        ("", "", "0.1"),
        ("", "", "0.12"),
        ("", "", "0.11"),
    ]


@pytest.mark.parametrize("count", [1, 2, 20])
def test_each_statistic_of_a_model_stands_under_its_name(tmp_path: Path, count: int) -> None:
    latencies = tuple(float(number) for number in range(1, count + 1))
    write_log(tmp_path, [rounds(latencies_ms=latencies)])
    report = build_report(tmp_path)
    CsvSink().write(report, tmp_path)
    row = read(tmp_path / "summary.csv")[0]
    told = report.model("a").statistics["latency"]
    assert ("p95" in told, "std" in told) == (count == 20, count > 1)
    for statistic in SUMMARY_STATISTICS:
        text = row[f"latency.{statistic}"]
        assert (float(text) if text else None) == told.get(statistic)
