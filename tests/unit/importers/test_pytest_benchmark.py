from __future__ import annotations

from pathlib import Path

import pytest
from foreign_files import pytest_benchmark, save
from importing import imported, read

from pytest_llmci.engine.imported import ONLY_AGGREGATES


def test_repetitions_become_rounds_in_their_order(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", pytest_benchmark([0.0125, 0.011, 0.012])))
    [cell] = report.cells
    assert cell.values("latency") == [0.0125, 0.011, 0.012]
    assert (cell.rounds, cell.verdict, cell.prompt) == (3, "pass", "tests/test_a.py::test_one[7]")
    assert report.header.environment["cpu_model"] == "Example CPU 9"
    assert report.header.environment["git"] == {"commit": "c0ffee", "dirty": False}
    assert report.header.started == "2026-02-03T04:05:06.000Z"


def test_a_repetition_of_a_few_hundred_nanoseconds_keeps_its_digits(tmp_path: Path) -> None:
    report = imported(tmp_path, save(tmp_path / "a.json", pytest_benchmark([2.2016e-07, 2.1731e-07])))
    assert report.cells[0].values("latency") == pytest.approx([2.2016e-07, 2.1731e-07], rel=1e-5)


def test_statistics_alone_are_metrics_of_their_own_and_no_rounds_of_the_time(tmp_path: Path) -> None:
    [cell] = imported(tmp_path, save(tmp_path / "a.json", pytest_benchmark(None))).cells
    assert cell.values("latency") == []
    assert cell.why_missing("latency") == ONLY_AGGREGATES
    assert cell.values("latency_median") == [0.0121]
    assert cell.values("sample_size") == [3]


def test_a_clock_of_the_process_measures_cpu_time(tmp_path: Path) -> None:
    data = pytest_benchmark([0.02, 0.03])
    data["benchmarks"][0]["options"]["timer"] = "process_time"
    [cell] = imported(tmp_path, save(tmp_path / "a.json", data)).cells
    assert cell.values("cpu_time") == [0.02, 0.03]
    assert cell.values("latency") == []


@pytest.mark.parametrize("wrong", [-0.1, 0, float("nan"), float("inf"), "soon", True, None])
def test_what_no_clock_can_have_said_is_missing_with_a_reason(tmp_path: Path, wrong: object) -> None:
    data = pytest_benchmark([0.02, 0.03])
    data["benchmarks"][0]["stats"]["data"][1] = wrong
    [cell] = imported(tmp_path, save(tmp_path / "a.json", data)).cells
    assert cell.values("latency") == [0.02]
    assert "stats.data of a round is" in cell.columns.reasons["latency"]


def test_a_benchmark_that_did_not_finish_has_failed(tmp_path: Path) -> None:
    data = pytest_benchmark()
    data["benchmarks"][0]["stats"] = {}
    [cell] = imported(tmp_path, save(tmp_path / "a.json", data)).cells
    assert cell.verdict == "failed"
    assert cell.error is not None
    assert "did not finish" in cell.error.message


def test_how_it_was_measured_is_what_was_asked_and_how_long_is_not(tmp_path: Path) -> None:
    [file] = read(save(tmp_path / "a.json", pytest_benchmark()))
    assert file.tool == "pytest-benchmark 5.1.0"
    assert file.cells[0].asked["timer"] == "perf_counter"
    assert "min_rounds" not in file.cells[0].asked
