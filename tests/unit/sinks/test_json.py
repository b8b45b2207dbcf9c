from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_run import CRASH, benchmark, rounds, usual_records, verdict, write_log

from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import SinkError
from pytest_llmci.records import BudgetResult, ErrorInfo, GateRecord, LogRecord
from pytest_llmci.sinks.json import JsonSink, _cell, _CellWriter
from pytest_llmci.store import load_schema
from pytest_llmci.store.encoding import dump
from pytest_llmci.store.recovery import recover


def documents(folder: Path, records: list[LogRecord], *, footer: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    write_log(folder, records, footer=footer)
    files = JsonSink().write(build_report(folder), folder)
    assert files == [folder / "results.json", folder / "metrics.json"]
    results, metrics = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    return results, metrics


BUDGET = BudgetResult(
    budget="latency.median <= 1ms", origin="marker", metric="latency", statistic="median", operator="<=", limit=0.001,
    verdict="failed", observed=0.11, rounds=3, reason="p = 0.001", p_value=0.001, values=[0.1, 0.12, 0.11],
)  # fmt: skip
EVERYTHING: list[LogRecord] = [
    *usual_records(),
    rounds("r9", prompt_id="own", origin="call"),
    verdict("v9", prompt_id="own", verdict="failed", budgets=[BUDGET]),
    verdict("v10", "c", verdict="failed", checks=[], error=ErrorInfo(kind="load", message="no such model"), rounds=0),
    GateRecord(name="coverage", outcome="passed", message="every model was used"),
    benchmark("b1"),
    benchmark("b2", test="test_it.py::test_off", round_s=[], reason="it was disabled"),
]


def test_the_documents_keep_to_the_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(load_schema("results")).validate
    check(documents(tmp_path, EVERYTHING)[0])
    (tmp_path / "killed").mkdir()
    check(documents(tmp_path / "killed", usual_records(), footer=False)[0])
    (tmp_path / "empty").mkdir()
    check(documents(tmp_path / "empty", [])[0])


def test_the_schema_refuses_what_is_wrong(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    results, _ = documents(tmp_path, EVERYTHING)
    validator = jsonschema.Draft202012Validator(load_schema("results"))
    damages: tuple[Callable[[Any], object], ...] = (
        lambda d: d["cells"][0].pop("verdict"),
        lambda d: d["cells"][0].update(verdict="fine"),
        lambda d: d["models"][0]["metrics"]["latency"].pop("median"),
        lambda d: d["models"][0]["metrics"]["gpu_peak_allocated"].pop("reason"),
        lambda d: d["cells"][0]["outputs"][0].update(md5="?"),
        lambda d: d["run"].update(log_digest="?"),
    )
    for damage in damages:
        wrong = json.loads(json.dumps(results))
        damage(wrong)
        assert not validator.is_valid(wrong)


def test_the_run_and_its_models(tmp_path: Path) -> None:
    results, _ = documents(tmp_path, EVERYTHING)
    assert results["run"]["exit_status"] == 0
    assert results["run"]["recovered"] is False
    assert results["run"]["log_digest"] == build_report(tmp_path).digest
    assert [model["alias"] for model in results["models"]] == ["a", "b", "c"]
    latency = results["models"][0]["metrics"]["latency"]
    assert (latency["n"], latency["median"], latency["max"]) == (6, 0.155, 0.21)
    assert "p95" not in latency
    assert results["models"][0]["metrics"]["gpu_peak_allocated"] == {"n": 0, "reason": "no GPU"}
    assert results["models"][0]["metrics"]["load_time"]["median"] == 1.5
    own, off = results["benchmarks"]
    assert (own["tool"], own["cells"], own["seconds"]["median"]) == ("pytest-benchmark 5.3.1", ["a-tcp"], 0.2)
    assert off["seconds"] == {"n": 0, "reason": "it was disabled"}
    said = {"name": "coverage", "outcome": "passed", "message": "every model was used"}
    assert results["gates"] == [{**said, "model": "", "comparisons": [], "counts": {}}]


def test_cells_are_si_and_hold_their_texts(tmp_path: Path) -> None:
    results, _ = documents(tmp_path, EVERYTHING)
    cell = results["cells"][0]
    assert (cell["id"], cell["verdict"], cell["rounds"]) == ("a-tcp", "pass", 3)
    assert cell["metrics"]["latency"]["median"] == 0.11
    assert cell["checks"] == [{"name": "valid", "passed": True, "message": "ok", "judged_by": ""}]
    assert results["cells"][2]["error"] == {"kind": CRASH.kind, "message": CRASH.message, "facts": CRASH.facts}
    assert results["cells"][3]["budgets"][0]["observed"] == 0.11
    block = rounds()
    assert cell["prompt"] == block.prompt
    assert cell["outputs"] == [
        {
            "text": block.outputs[0],
            "md5": block.md5[0],
            "sha256": block.output_sha256[0],
            "finish_reason": block.finish_reasons[0],
        }
    ]
    called = results["cells"][3]
    assert (called["rounds"], len(called["outputs"])) == (0, 1), "what a single call answered is shown, in no statistic"


def test_a_cell_of_one_round_is_written_as_the_same_data(tmp_path: Path) -> None:
    reasons = {"gpu_peak_allocated": "0 % of it, %s"}
    first = rounds("r1", latencies_ms=(0.001,), reasons=reasons)
    second = rounds("r2", prompt_id="dns", latencies_ms=(250,), reasons=reasons)
    odd = rounds("r3", prompt_id="odd", latencies_ms=(1,), reasons=reasons, prompt="\x7f\u20ac")
    write_log(tmp_path, [first, second, odd, verdict("v1")])
    report = build_report(tmp_path)
    writer = _CellWriter(report.metrics, {})
    for cell, latency in zip(report.cells, (1e-6, 0.25, 0.001), strict=True):
        line = writer.line(cell)
        assert line == f'{dump(_cell(cell))[:-1]},"metrics":{{{writer._metrics(cell)}}}}}'
        found = json.loads(line)
        numbers = dict.fromkeys(("min", "median", "mean", "max"), latency)
        assert found["metrics"]["latency"] == {"n": 1, **numbers}
        assert found["metrics"]["gpu_peak_allocated"] == {"n": 0, "reason": "0 % of it, %s"}
    assert len(writer._forms) == 1


def test_a_cell_says_why_a_number_is_missing_where_its_model_does_not(tmp_path: Path) -> None:
    other = "no GPU in this round"
    blocks = [
        rounds("r1", latencies_ms=(1,)),
        rounds("r2", prompt_id="dns", latencies_ms=(1,)),
        rounds("r3", prompt_id="odd", latencies_ms=(1,), reasons={"gpu_peak_allocated": other}),
        rounds("r4", prompt_id="two", latencies_ms=(1, 2)),
        rounds("r5", prompt_id="odder", latencies_ms=(1, 2), reasons={"gpu_peak_allocated": other}),
    ]
    results, _ = documents(tmp_path, [*blocks])
    assert results["models"][0]["metrics"]["gpu_peak_allocated"] == {"n": 0, "reason": "no GPU"}
    told = {cell["prompt_id"]: cell["metrics"].get("gpu_peak_allocated") for cell in results["cells"]}
    stated = {"n": 0, "reason": other}
    assert told == {"tcp": None, "dns": None, "odd": stated, "two": None, "odder": stated}
    assert all(cell["metrics"]["latency"]["n"] for cell in results["cells"])


def test_a_recovered_run_says_so(tmp_path: Path) -> None:
    write_log(tmp_path, usual_records(), footer=False)
    recover(tmp_path)
    JsonSink().write(build_report(tmp_path), tmp_path)
    run = json.loads((tmp_path / "results.json").read_text())["run"]
    assert (run["recovered"], run["exit_status"]) == (True, None)


def test_metrics_are_numbers_by_model(tmp_path: Path) -> None:
    _, metrics = documents(tmp_path, EVERYTHING)
    assert metrics["a"] == {
        "latency": 0.155,
        "ttft": 0.0155,
        "peak_rss": 250_000_001,
        "cpu_percent": 90.5,
        "output_tokens": 50,
        "load_time": 1.5,
        "model_footprint": 1000,
        "cells": 3,
        "valid_cells": 3,
        "failed_cells": 1,
        "inconclusive_cells": 1,
    }
    assert metrics["c"] == {"cells": 1, "valid_cells": 0, "failed_cells": 1, "inconclusive_cells": 0}


@pytest.mark.parametrize("text", ['q"uo\\te', "\x00\x1b[31m\r\n", "漢字 🙂", "\udcff alone", "x" * 100_000])
def test_texts_come_back(tmp_path: Path, text: str) -> None:
    results, _ = documents(tmp_path, [rounds(prompt=text, outputs=[text])])
    cell = results["cells"][0]
    assert (cell["prompt"], [output["text"] for output in cell["outputs"]]) == (text, [text])


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    documents(tmp_path, EVERYTHING)
    again = JsonSink(str(tmp_path / "again")).write(build_report(tmp_path), tmp_path)
    for path in again:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_log(tmp_path, [])
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="the JSON files cannot be written: "):
        JsonSink(str(tmp_path / "file")).write(build_report(tmp_path), tmp_path)
