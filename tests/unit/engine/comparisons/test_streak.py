from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_run import usual_records, write_log

from pytest_llmci.engine.comparisons.streak import runs_undecided
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.records import ComparisonResult


def result(verdict: Any) -> ComparisonResult:
    return ComparisonResult(
        metric="latency", mode="saved", verdict=verdict, against="main", base=1.0, candidate=1.0, change=0.0
    )


def earlier(output: Path, number: int, *verdicts: str, model: str = "a") -> None:
    run = output / f"2025010{number}T000000Z-abcdef"
    run.mkdir(parents=True)
    (run / "log.jsonl").write_text("", "utf-8")
    cells = [{"model": model, "comparisons": [{"verdict": verdict} for verdict in verdicts]}]
    data = {"run": {"started": f"2025-01-0{number}T00:00:00.000Z"}, "cells": cells}
    (run / "results.json").write_text(json.dumps(data), "utf-8")


@pytest.mark.parametrize(
    ("before", "streak"),
    [
        ([], 1),
        (["inconclusive"], 2),
        (["inconclusive", "not comparable"], 3),
        (["inconclusive", "inconclusive", "inconclusive"], 3),
        (["inconclusive", "pass"], 1),
        (["pass", "inconclusive"], 2),
    ],
)
def test_runs_in_a_row_are_counted_backwards(tmp_path: Path, before: list[str], streak: int) -> None:
    for number, verdict in enumerate(before, 1):
        earlier(tmp_path, number, verdict)
    assert runs_undecided(undecided(tmp_path), tmp_path) == streak


def undecided(output: Path) -> Any:
    run = output / "20260101T000000Z-abcdef"
    run.mkdir()
    write_log(run, usual_records())
    report = build_report(run)
    return replace(report, cells=tuple(replace(cell, comparisons=(result("inconclusive"),)) for cell in report.cells))


def test_runs_that_compared_nothing_or_other_models_do_not_count(tmp_path: Path) -> None:
    earlier(tmp_path, 1, "inconclusive")
    earlier(tmp_path, 2)
    earlier(tmp_path, 3, "pass", model="another")
    assert runs_undecided(undecided(tmp_path), tmp_path) == 2


def test_a_decided_run_has_no_streak(tmp_path: Path) -> None:
    report = undecided(tmp_path)
    decided = replace(report, cells=tuple(replace(cell, comparisons=(result("pass"),)) for cell in report.cells))
    assert runs_undecided(decided, tmp_path) == 0


def test_runs_of_one_second_are_told_apart_by_what_they_say(tmp_path: Path) -> None:
    """The part of a folder's name behind the second is drawn by lot."""
    report = undecided(tmp_path)
    for name, moment, verdict in (("zzzzzz", "998", "inconclusive"), ("000000", "999", "pass")):
        run = tmp_path / f"20251231T235959Z-{name}"
        run.mkdir()
        (run / "log.jsonl").write_text("", "utf-8")
        cells = [{"model": "a", "comparisons": [{"verdict": verdict}]}]
        data = {"run": {"started": f"2025-12-31T23:59:59.{moment}Z"}, "cells": cells}
        (run / "results.json").write_text(json.dumps(data), "utf-8")
    assert runs_undecided(report, tmp_path) == 1, "the last one had decided"
