"""pytest-benchmark: one cell a benchmark, one round a measured repetition where the file holds its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..engine.imported import ImportedCell
from ..records import Json
from .base import Imported, Numbers, mapping, plain, text, utc_of
from .source import Source

_STATISTICS: Final = (
    ("mean", "mean"), ("median", "median"), ("stddev", "std"), ("min", "min"), ("max", "max"), ("q1", "p25"), ("q3", "p75"),
)  # fmt: skip
_NOT_ASKED: Final = frozenset({"min_rounds", "max_time", "min_time"})
"""Options that say how long to measure, and not what."""


class PytestBenchmark:
    """Reads what ``--benchmark-json`` and ``--benchmark-save`` write."""

    def recognises(self, source: Source) -> bool:
        found = mapping(source.document) if source.kind == "json" else {}
        return isinstance(found.get("benchmarks"), list) and "machine_info" in found

    def read(self, source: Source) -> Imported:
        found = mapping(source.document)
        version, benchmarks = text(found.get("version")), found.get("benchmarks")
        machine = mapping(found.get("machine_info"))
        cells = [
            _cell(mapping(each), text(found.get("datetime")), text(machine.get("python_version")))
            for each in (benchmarks if isinstance(benchmarks, list) else [])
        ]
        return Imported(
            cells=cells, tool=f"pytest-benchmark {version}".strip(), machine=_machine(machine, mapping(found.get("commit_info"))),
            notes=["iqr, outliers and ops are left out: they follow from what is kept"],
        )  # fmt: skip


def _machine(machine: Mapping[str, object], commit: Mapping[str, object]) -> dict[str, Json]:
    cpu = mapping(machine.get("cpu"))
    found: dict[str, Json] = {
        "machine": plain(machine.get("machine")),
        "kernel": plain(machine.get("release")),
        "cpu_model": plain(cpu.get("brand_raw") or cpu.get("brand")),
        "python": plain(machine.get("python_version")),
    }
    if commit.get("id"):
        found["git"] = {"commit": plain(commit.get("id")), "dirty": plain(commit.get("dirty"))}
    return {name: value for name, value in found.items() if value is not None}


def _cell(benchmark: Mapping[str, object], when: str, python: str) -> ImportedCell:
    name = text(benchmark.get("fullname")) or text(benchmark.get("name"))
    options, stats = mapping(benchmark.get("options")), mapping(benchmark.get("stats"))
    # The name of the clock tells what it measures: process_time and thread_time leave out waiting.
    clock = text(options.get("timer"))
    metric = "cpu_time" if "process_time" in clock or "thread_time" in clock else "latency"
    numbers = Numbers()
    data = stats.get("data")
    if isinstance(data, list) and data:
        numbers.take_column(metric, data, "s", "stats.data")
    else:
        for field, statistic in _STATISTICS:
            numbers.take(f"{metric}_{statistic}", stats.get(field), "s", f"stats.{field}", zero=statistic == "std")
        numbers.take("sample_size", stats.get("rounds"), "", "stats.rounds")
        numbers.only_aggregates(metric)
    failed = "it has no statistics: the benchmark did not finish" if not numbers.values else ""
    asked = {name: plain(value) for name, value in options.items() if name not in _NOT_ASKED}
    return ImportedCell(
        model="", prompt_id=name, about=name, asked={**asked, "params": plain(benchmark.get("params"))}, values=numbers.values,
        reasons=numbers.reasons, units=numbers.units, judged_by=(f"{metric}_median",), python=python, started=utc_of(when), error=failed,
    )  # fmt: skip
