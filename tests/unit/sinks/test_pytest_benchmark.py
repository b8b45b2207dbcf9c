from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sample_run import CRASH, benchmark, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import SinkError
from pytest_llmci.records import LogRecord
from pytest_llmci.sinks.pytest_benchmark import PytestBenchmarkSink, stats

MILLISECONDS = (100, 120, 110, 101, 99, 240)


def document(folder: Path, records: list[LogRecord]) -> Any:
    write_log(folder, records)
    report = build_report(folder)
    assert PytestBenchmarkSink().write(report, folder) == [folder / "pytest-benchmark.json"]
    return json.loads((folder / "pytest-benchmark.json").read_text("utf-8"), parse_constant=pytest.fail)


def test_a_cell_is_a_benchmark_and_its_rounds_are_the_rounds(tmp_path: Path) -> None:
    found = document(tmp_path, usual_records())
    first, second = found["benchmarks"]
    assert (first["fullname"], first["name"]) == ("inference::a-tcp", "a-tcp")
    assert (first["params"], first["param"]) == ({"model": "a", "prompt": "tcp"}, "a-tcp")
    assert first["stats"]["data"] == [0.1, 0.12, 0.11]
    assert (first["stats"]["rounds"], first["stats"]["iterations"]) == (3, 1)
    assert first["stats"]["ops"] == pytest.approx(3 / 0.33)
    assert second["extra_info"]["verdict"] == "inconclusive"
    assert second["extra_info"]["noisy_rounds"] == 1


def test_what_was_not_measured_is_absent(tmp_path: Path) -> None:
    first, *_ = document(tmp_path, usual_records())["benchmarks"]
    assert first["extra_info"]["medians"]["peak_rss"] == 250_000_001
    assert "gpu_peak_allocated" not in first["extra_info"]["medians"]


def test_a_cell_that_failed_is_left_out(tmp_path: Path) -> None:
    records: list[LogRecord] = [
        worker(),
        rounds("r1"),
        rounds("r2", latencies_ms=(5,), error=CRASH, first_round=3),
        verdict(verdict="failed", error=CRASH, checks=[]),
    ]
    assert document(tmp_path, records)["benchmarks"] == []


def test_single_calls_are_no_benchmark(tmp_path: Path) -> None:
    assert document(tmp_path, [worker(), rounds(origin="call"), verdict()])["benchmarks"] == []


def test_no_prompt_and_no_answer_is_in_it(tmp_path: Path) -> None:
    document(tmp_path, usual_records())
    text = (tmp_path / "pytest-benchmark.json").read_text("utf-8")
    assert "An answer." not in text
    assert "What is TCP?" not in text


def test_cells_of_one_test_have_names_of_their_own(tmp_path: Path) -> None:
    records: list[LogRecord] = [
        rounds("r1", test="test_x.py::test[a::b-1]"),
        rounds("r2", prompt_id="dns", test="test_x.py::test[a::b-1]"),
    ]
    found = document(tmp_path, [worker(), *records])["benchmarks"]
    assert [each["fullname"] for each in found] == ["test_x.py::test[a::b-1]", "test_x.py::test[a::b-1]::a-dns"]
    assert found[0]["name"] == "test[a::b-1]"


def test_what_pytest_benchmark_measured_keeps_its_name(tmp_path: Path) -> None:
    of_cell = rounds(test="test_it.py::test_it[a]")
    found = document(
        tmp_path, [worker(), of_cell, benchmark(iterations=2, group="mine"), benchmark("b2", test="t", round_s=[])]
    )
    own, cell = found["benchmarks"]
    assert (own["fullname"], own["name"], own["group"]) == ("test_it.py::test_it[a]", "test_it[a]", "mine")
    assert (own["stats"]["data"], own["stats"]["iterations"]) == ([0.2, 0.1, 0.3], 2)
    assert own["extra_info"]["measured_by"] == "pytest-benchmark 5.3.1"
    assert cell["fullname"] == "test_it.py::test_it[a]::a-tcp"


def test_statistics_are_those_of_pytest_benchmark() -> None:
    theirs = pytest.importorskip("pytest_benchmark.stats").Stats()
    theirs.data = [value / 1e3 for value in MILLISECONDS]
    ours = stats(list(theirs.data))
    expected = {**theirs.as_dict(), "data": theirs.data, "iterations": 1}
    assert {
        name: value if name in ("outliers", "data") else pytest.approx(value) for name, value in expected.items()
    } == ours


def test_one_round_has_the_zero_that_the_form_wants() -> None:
    assert stats([0.5])["stddev"] == 0
    assert stats([0.5])["rounds"] == 1


def test_the_real_compare_reads_two_runs(tmp_path: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    files: list[str] = []
    for name, factor in (("old", 1.0), ("new", 1.5)):
        folder = tmp_path / name
        folder.mkdir()
        write_log(folder, [worker(), rounds(latencies_ms=[value * factor for value in MILLISECONDS]), verdict()])
        (path,) = PytestBenchmarkSink(str(tmp_path / "deep" / f"{name}.json")).write(build_report(folder), folder)
        files.append(str(path))
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "--between", "median,ops", *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "+50.0%" in done.stdout
    assert "-33.3%" in done.stdout
    plain = subprocess.run(
        [*command[:4], "--csv=table.csv", *files], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "a-tcp" in plain.stdout
    assert "WARNING" not in plain.stdout + plain.stderr
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 3


def test_a_folder_in_its_place_is_one_line(tmp_path: Path) -> None:
    write_log(tmp_path, usual_records())
    with pytest.raises(SinkError, match=r"is a folder: name a file in it, such as .*results\.json"):
        PytestBenchmarkSink(str(tmp_path)).write(build_report(tmp_path), tmp_path)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_log(tmp_path, usual_records())
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"x\.json: cannot be written: Not a directory|File exists"):
        PytestBenchmarkSink(str(tmp_path / "file" / "x.json")).write(build_report(tmp_path), tmp_path)
