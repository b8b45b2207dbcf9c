from __future__ import annotations

import math
from pathlib import Path

import pytest
from foreign_files import pytest_benchmark, save, vllm_serve
from importing import imported
from sample_run import header
from stored_runs import block, simple, started, write_run

from pytest_llmci.engine.comparisons.stored_run import Gathering, StoredCell, read_run
from pytest_llmci.errors import StoreError
from pytest_llmci.measure import builtin_metrics


def test_numbers_that_are_not_finite_are_left_out_with_a_reason() -> None:
    gathering = Gathering(frozenset({"ttft"}))
    head = header(metrics=list(builtin_metrics()))
    for record in (head, started(), block(values={"ttft": [math.nan] * 10})):
        gathering.take(record)
    ((cell,),) = gathering.run(Path(), head).cells.values()
    assert "ttft" not in cell.numbers
    assert cell.reasons["ttft"] == "a measured number was not finite"
    assert len(cell.numbers["net_time"]) == 10


def test_only_what_is_compared_or_asked_for_is_kept(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 0, simple())
    usual, more = read_run(folder), read_run(folder, ["ttft"])
    names = {"cpu_time", "net_time", "latency", "peak_rss", "output_tokens"}
    assert set(usual.cells["a", "tcp"][0].numbers) == names
    assert set(more.cells["a", "tcp"][0].numbers) == {*names, "ttft"}


def test_a_record_that_came_twice_counts_once() -> None:
    gathering = Gathering(frozenset())
    head = header(metrics=list(builtin_metrics()))
    for record in (head, started(), block(), block()):
        gathering.take(record)
    ((cell,),) = gathering.run(Path(), head).cells.values()
    assert cell.rounds == 10


def test_a_log_without_a_line_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"")
    with pytest.raises(StoreError, match="holds no whole line"):
        read_run(tmp_path)


def imported_cell(tmp_path: Path, *runs: list[float]) -> StoredCell:
    paths = [save(tmp_path / f"{n}.json", pytest_benchmark(data)) for n, data in enumerate(runs)]
    ((cell,),) = read_run(imported(tmp_path, *paths).folder).cells.values()
    return cell


def test_an_imported_cell_gives_a_median_a_run_of_the_tool(tmp_path: Path) -> None:
    cell = imported_cell(tmp_path, [0.25, 0.5, 9.0], [1.0, 3.0])
    assert cell.runs == (3, 2)
    assert cell.by_run.values["latency"] == [0.5, 2.0]
    assert cell.by_run.n == 2
    assert cell.outputs == ()


def test_thousands_of_imported_samples_are_taken_together_in_their_order(tmp_path: Path) -> None:
    cell = imported_cell(tmp_path, [float(n) for n in range(1, 405)])
    assert cell.condensed.values["latency"][:2] == [2.0, 5.0]
    assert (cell.condensed.n, len(cell.condensed.values["latency"])) == (134, 134)
    few = imported_cell(tmp_path, [0.25, 0.5])
    assert few.condensed == few.samples


def test_what_an_import_is_judged_by_is_read_with_the_usual_metrics(tmp_path: Path) -> None:
    ((cell,),) = read_run(imported(tmp_path, save(tmp_path / "a.json", vllm_serve())).folder).cells.values()
    assert cell.judged_by == ("output_throughput", "ttft_median", "tpot_median")
    assert set(cell.numbers) == {*cell.judged_by, "output_tokens_mean", "request_throughput"}
