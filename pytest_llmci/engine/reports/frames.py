"""A finished run in a notebook: tables as pandas DataFrames, and a summary that Jupyter shows by itself."""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...metrics import MetricDef
from ...records import Missing, Number
from ...registry import missing_package
from ...settings import OUTPUT_FOLDER
from ...store.runfolder import resolve_run
from ...text import one_line
from ...units import format_bytes, format_duration, format_rate
from .headlines import headlines, verdict_line
from .report import ModelSummary, SessionReport
from .report_builder import build_report

if TYPE_CHECKING:
    import pandas as pd

EXTRA = "pytest-llmci[report]"
_STYLE = "text-align:right;padding:2px 10px"


def load_run(run: str | Path = "latest", output: str | Path = OUTPUT_FOLDER) -> Run:
    """Read a run.

    :param run: a run folder, ``latest``, ``latest~1``, or the beginning of a run's id.
    :param output: the folder of the runs.
    :raises ConfigError: if there is no such run.
    :raises StoreError: if its log is not what was written.
    """
    return Run(build_report(resolve_run(os.fspath(run), Path(output))))


class Run:
    """A run as tables. Quantities are SI: seconds, bytes, per second, USD; what was not measured is NaN."""

    def __init__(self, report: SessionReport) -> None:
        self.report = report
        """All that the log says, as records and statistics."""

    @property
    def id(self) -> str:
        """Of the run."""
        return self.report.header.run_id

    @property
    def metrics(self) -> list[MetricDef]:
        """Definition, unit and direction of every column of a metric."""
        return self.report.metrics

    def to_frame(self) -> pd.DataFrame:
        """One row a measured round, in the order of measuring.

        Columns: ``model``, ``prompt_id``, ``prompt``, ``output``, ``cell``, ``test``, ``round``, ``status`` (only ``ok`` counts in
        statistics; see docs/reading-results.md), ``noisy`` (why, or empty), ``finish_reason``, then a column a metric.

        :raises MissingExtraError: without pandas.
        """
        pandas = _pandas()
        names = [metric.name for metric in self.metrics if metric.scope != "worker"]
        in_ns = {metric.name for metric in self.metrics if metric.stored == "ns"}
        texts: dict[str, list[Any]] = {name: [] for name in _TEXTS}
        numbers: dict[str, list[float | None]] = {name: [] for name in names}
        for block in self.report.blocks:
            same = {
                "model": block.model, "prompt_id": block.prompt_id, "prompt": block.prompt, "cell": block.cell, "test": block.test,
                "status": self.report.status(block),
            }  # fmt: skip
            for name, text in same.items():
                texts[name] += [text] * block.n
            texts["output"] += (
                [block.outputs[place] for place in block.output_of_round] if block.outputs else [""] * block.n
            )
            texts["round"] += range(block.first_round, block.first_round + block.n)
            texts["noisy"] += block.noisy
            texts["finish_reason"] += block.finish_reasons
            for name in names:
                numbers[name] += block.column(name)
        frame = pandas.DataFrame(
            {**texts, **{name: pandas.Series(column, dtype="float64") for name, column in numbers.items()}}
        )
        for name in in_ns & set(names):
            frame[name] /= 1e9
        return frame

    def models(self) -> pd.DataFrame:
        """One row a model: cells by verdict, rounds, and ``<metric>.<statistic>`` of every metric.

        :raises MissingExtraError: without pandas.
        """
        rows = [
            {
                "model": model.alias, "spec": model.spec, "cells": len(model.cells), "valid_cells": model.valid_cells,
                "failed_cells": model.failed_cells, "inconclusive_cells": model.inconclusive_cells, "rounds": model.rounds,
                "noisy_rounds": model.noisy_rounds,
                **{f"{name}.{statistic}": number for name, found in model.statistics.items() for statistic, number in found.items()},
            }
            for model in self.report.models
        ]  # fmt: skip
        return _pandas().DataFrame(rows)

    def cells(self) -> pd.DataFrame:
        """One row a cell: its verdict, why it failed, and the median of every metric.

        :raises MissingExtraError: without pandas.
        """
        metrics = {metric.name: metric for metric in self.metrics}
        rows = [
            {
                "cell": cell.id, "model": cell.model, "prompt_id": cell.prompt_id, "test": cell.test, "verdict": cell.verdict or "",
                "why": "; ".join(headlines(cell, metrics)), "rounds": cell.rounds, "noisy_rounds": cell.noisy_rounds,
                **{name: _number(cell.summary(name).median) for name, metric in metrics.items() if metric.scope != "worker"},
            }
            for cell in self.report.cells
        ]  # fmt: skip
        return _pandas().DataFrame(rows)

    def __repr__(self) -> str:
        return f"<run {self.id}: {verdict_line(self.report)}>"

    def _repr_html_(self) -> str:
        """The verdict and a row a model; for Jupyter."""
        head = "".join(f'<th style="{_STYLE}">{title}</th>' for title in ("model", *_SHOWN))
        body = "".join(f"<tr>{_row(model)}</tr>" for model in self.report.models)
        return (
            f"<p><b>{html.escape(verdict_line(self.report))}</b> <code>{html.escape(self.id)}</code></p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


_TEXTS = ("model", "prompt_id", "prompt", "output", "cell", "test", "round", "status", "noisy", "finish_reason")
_SHOWN = ("latency", "1st token", "tokens/s", "peak RAM", "load", "valid")


def _row(model: ModelSummary) -> str:
    cells = [
        _text(model, "latency", "median", format_duration), _text(model, "ttft", "median", format_duration),
        _text(model, "tokens_per_s", "median", format_rate), _text(model, "peak_rss", "max", format_bytes),
        _shown(model.load_time, format_duration), f"{model.valid_cells}/{model.checked_cells}" if model.checked_cells else "n/a",
    ]  # fmt: skip
    name = f'<th style="{_STYLE};text-align:left">{html.escape(one_line(model.alias))}</th>'
    return name + "".join(f'<td style="{_STYLE}">{html.escape(cell)}</td>' for cell in cells)


def _text(model: ModelSummary, metric: str, statistic: str, write: Any) -> str:
    return _shown(model.summary(metric).get(statistic), write) if metric in model.metrics else "n/a"


def _shown(value: Number, write: Any) -> str:
    return "n/a" if isinstance(value, Missing) else write(value)


def _number(value: Number) -> float:
    return float("nan") if isinstance(value, Missing) else float(value)


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise missing_package("a table of a run", error.name or "pandas", EXTRA) from error
    return pandas
