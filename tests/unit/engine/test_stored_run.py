from __future__ import annotations

import math
from pathlib import Path

import pytest
from sample_run import header
from stored_runs import block, simple, started, write_run

from pytest_llmci.engine.stored_run import Gathering, read_run
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
