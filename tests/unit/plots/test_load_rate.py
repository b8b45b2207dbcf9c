"""The figure of a sweep."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from dataclasses import replace

from loads import answered, load_line, run
from sample_run import rounds, verdict, worker, write_log

from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.plots import plots_of, register
from pytest_llmci.plots.base import encode, render
from pytest_llmci.plots.load_rate import LoadOverRate
from pytest_llmci.plots.run_data import RunData
from pytest_llmci.records import LogRecord, Objective
from pytest_llmci.registry import Registry

SCENARIO = "server rate=1..64 requests=100 resolution=10% share=95% ttft<=500ms"


def data_of(folder: Path, lines: list[LogRecord]) -> RunData:
    write_log(folder, lines, metrics=list(builtin_metrics()))
    return RunData(build_report(folder))


def swept(
    folder: Path, rates: dict[float, float], models: tuple[str, ...] = ("a",), scenario: str = SCENARIO
) -> RunData:
    """A sweep: rate -> latency in ms; over half a second it is missed."""
    lines: list[LogRecord] = []
    for place, model in enumerate(models):
        best = max((rate for rate, latency in rates.items() if latency <= 500), default=None)
        values: dict[str, list[Any]] = {} if best is None else {"max_rate": [best]}
        lines += [
            worker(f"w{place}", model),
            rounds(f"r{place}", model, "sweep", (100,), values=values, load=scenario, worker=f"w{place}"),
        ]
        for number, (rate, latency) in enumerate(rates.items()):
            made = run(
                [answered(at * 1000 / rate, latency + at / 10, ttft_ms=latency / 2) for at in range(40)],
                Objective(ttft_s=0.25),
                rate=rate,
            )
            made = replace(made, step=number, kept=latency <= 500)
            lines.append(
                load_line(f"l{place}-{number}", model, made=made, scenario=scenario, block=f"r{place}", test="t::a")
            )
        lines.append(verdict(f"v{place}", model, "sweep"))
    return data_of(folder, lines)


def words(plot: LoadOverRate) -> str:
    root = ET.fromstring(encode(plot, "svg"))
    return " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))


def test_percentiles_and_goodput_lie_over_the_offered_rate(tmp_path: Path) -> None:
    plot = LoadOverRate.of(swept(tmp_path, {8: 900, 1: 100, 2: 120, 4: 300}))
    assert plot is not None and not plot.lacking()
    (curve,) = plot.curves
    assert [point.rate for point in curve.points] == [1, 2, 4, 8]
    assert [round(1e3 * (point.latency["p50"] or 0)) for point in curve.points] == [102, 122, 302, 902]
    assert all(point.latency["p99"] is None for point in curve.points)  # forty requests bear no p99
    assert [point.kept for point in curve.points] == [True, True, True, False] and curve.max_rate == 4
    assert curve.points[0].goodput == pytest.approx(curve.points[0].throughput) and curve.points[3].goodput == 0
    left, right = render(plot).axes
    assert left.get_ylabel() == "latency (ms)" and right.get_ylabel() == "requests that kept the objective (per second)"
    assert list(left.lines[0].get_ydata()) == pytest.approx([102, 122, 302, 902], abs=1)
    hollow = [line for line in left.lines if line.get_marker() == "o" and line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[8]]
    told = words(plot)
    assert "Objective: ttft<=500ms." in told and "(a 4 /s)" in told


def test_many_models_and_hostile_names(tmp_path: Path) -> None:
    names = tuple(f"model-{number}-$x$&<" for number in range(9))
    plot = LoadOverRate.of(swept(tmp_path, {1: 100, 2: 600}, names))
    assert plot is not None and "2 more models are not shown" in words(plot)


def test_one_rate_is_a_note_and_no_load_is_no_figure(tmp_path: Path) -> None:
    one = LoadOverRate.of(swept(tmp_path, {4: 100}, scenario="server rate=4 requests=100"))
    assert one is not None and "it takes several rates" in one.lacking()
    other = tmp_path / "other"
    other.mkdir()
    data = data_of(other, [worker("w", "a"), rounds("r", "a", "p", (100,)), verdict("v", "a", "p")])
    assert LoadOverRate.of(data) is None
    registry = Registry()
    register(registry)
    assert "load-over-rate" not in dict(plots_of(data, registry))
    assert "load-over-rate" in [entry.name for entry in registry.entries("plot")]
