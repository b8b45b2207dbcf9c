"""``pytest-benchmark``: the latencies of each cell in the JSON form of pytest-benchmark.

``pytest-benchmark compare`` reads it, and so does what draws its files, such as the tool ``pytest`` of github-action-benchmark.
A cell is a benchmark, its rounds are the rounds; the other metrics are in ``extra_info``. No prompt and no answer is in it. A
cell whose measuring failed is left out, as pytest-benchmark leaves out what raised.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ..engine.reports.report import CellSummary, SessionReport
from ..records import BenchmarkRecord, Json, JsonObject
from ..stats.quartiles import quartiles
from ..stats.summary import Summary, summarise
from .files import target_file, written

FILE_NAME: Final = "pytest-benchmark.json"
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, check_circular=False).encode


class PytestBenchmarkSink:
    """Writes the file.

    :param target: the file; empty for ``pytest-benchmark.json`` in the run folder.
    """

    live_only = True

    def __init__(self, target: str = "") -> None:
        self._target = target

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        path = target_file(self._target, folder, FILE_NAME)
        with written(path) as stream:
            head = ",\n".join(f"{_encode(key)}: {_encode(value)}" for key, value in _head(report).items())
            stream.write("{" + head + ',\n"benchmarks": [')
            separator = "\n"
            for benchmark in _benchmarks(report):
                stream.write(separator + _encode(benchmark))
                separator = ",\n"
            stream.write("\n]}\n")
        return [path]


def _head(report: SessionReport) -> JsonObject:
    facts = report.header.environment
    return {
        "machine_info": _machine(facts),
        "commit_info": _commit(facts.get("git")),
        "datetime": report.header.started,
        "version": f"pytest-llmci {report.header.version}",
    }


def _machine(facts: JsonObject) -> JsonObject:
    """Of the machine that measured; the name of the host is not recorded."""
    return {
        "system": facts.get("platform"),
        "release": facts.get("kernel"),
        "machine": facts.get("machine"),
        "python_implementation": facts.get("implementation"),
        "python_implementation_version": facts.get("python"),
        "python_version": facts.get("python"),
        "cpu": {"brand_raw": facts.get("cpu_model"), "count": facts.get("cores_logical")},
    }


def _commit(git: Json) -> JsonObject:
    facts = git if isinstance(git, dict) else {}
    unknown = "(detached head)" if facts.get("commit") else "(unknown)"
    return {
        "id": facts.get("commit") or "unversioned",
        "time": None,
        "author_time": None,
        "dirty": bool(facts.get("dirty")),
        "project": None,
        "branch": facts.get("branch") or unknown,
    }


def _benchmarks(report: SessionReport) -> Iterator[JsonObject]:
    """First those of pytest-benchmark itself, under their names; then the cells."""
    taken: set[str] = set()
    for record in report.benchmarks:
        if record.round_s:
            taken.add(record.test)
            yield _of_benchmark(record, report)
    for cell in report.cells:
        latencies = cell.values("latency") if cell.error is None else []
        if not latencies:
            continue
        full_name = cell.test if cell.test not in taken else f"{cell.test}::{cell.id}"
        taken.add(full_name)
        yield {
            "group": None,
            "name": _name(full_name),
            "fullname": full_name,
            "params": {"model": cell.model, "prompt": cell.prompt_id},
            "param": cell.id,
            "extra_info": _extra(cell, report),
            "options": {"timer": "time.perf_counter_ns"},
            "stats": stats(latencies),
        }


def _of_benchmark(record: BenchmarkRecord, report: SessionReport) -> JsonObject:
    cells: list[Json] = [*record.cells]
    return {
        "group": record.group or None,
        "name": _name(record.test),
        "fullname": record.test,
        "params": {"model": ", ".join(record.models), "prompt": ""},
        "param": ", ".join(record.models),
        "extra_info": {"measured_by": record.tool, "run": report.header.run_id, "cells": cells},
        "options": {},
        "stats": stats(record.round_s, record.iterations),
    }


def _name(node_id: str) -> str:
    """What pytest calls the test in its file; parameters may hold colons."""
    place, bracket, parameters = node_id.partition("[")
    return place.rpartition("::")[2] + bracket + parameters


def _extra(cell: CellSummary, report: SessionReport) -> JsonObject:
    medians: JsonObject = {}
    for name, values in cell.columns.samples().items():
        if values:
            median = cell.summarised(name, values).median
            medians[name] = float(median)
    return {
        "measured_by": "pytest-llmci",
        "run": report.header.run_id,
        "cell": cell.id,
        "verdict": cell.verdict,
        "noisy_rounds": cell.noisy_rounds,
        "medians": medians,
    }


def stats(seconds: Sequence[float], iterations: int = 1) -> JsonObject:
    """The statistics that pytest-benchmark writes of a sample.

    Its form wants a number for the standard deviation of a single round, and has 0.

    :param seconds: of each round, divided by ``iterations``; at least one.
    :param iterations: calls in a round.
    """
    summary = summarise(seconds)
    spread, total = quartiles(summary.ordered), math.fsum(seconds)
    deviation = float(summary.std) if summary.n > 1 else 0.0
    beyond = _beyond(summary, deviation)
    data: list[Json] = [*seconds]
    return {
        "min": float(summary.min),
        "max": float(summary.max),
        "mean": float(summary.mean),
        "stddev": deviation,
        "rounds": summary.n,
        "median": float(summary.median),
        "iqr": spread.iqr,
        "q1": spread.q1,
        "q3": spread.q3,
        "iqr_outliers": spread.outliers,
        "stddev_outliers": beyond,
        "outliers": f"{beyond};{spread.outliers}",
        "ld15iqr": spread.low,
        "hd15iqr": spread.high,
        "ops": summary.n / total if total else 0.0,
        "total": total,
        "data": data,
        "iterations": iterations,
    }


def _beyond(summary: Summary, deviation: float) -> int:
    mean = float(summary.mean)
    return sum(not mean - deviation <= value <= mean + deviation for value in summary.ordered)
