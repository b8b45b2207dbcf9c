"""A folder for git and DVC: metrics, plots, and the whole run behind one pointer.

::

    llmci-dvc/
      metrics.json   model -> metric -> number, for dvc metrics show and diff: in git
      plots.csv      one row a cell with the medians of its metrics, for dvc plots: in git
      dvc.yaml       tells DVC of the two; written once, yours to edit
      run/           copy of the run folder: not in git, but in DVC's cache once it is committed there
      run.dvc        its pointer, as dvc add writes it: in git
      .gitignore     names run/

Where a stage of a ``dvc.yaml`` makes ``run/``, DVC writes pointer and metrics list itself, and they are left out here.
DVC is not imported.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from ..engine.reports.report import CellSummary, SessionReport
from ..errors import LLMCIError, SinkError
from ..metrics import MetricDef
from ..store.dvc import POINTER_SUFFIX, STAGES_NAME, pointer_text, stage_that_makes
from ..store.manifest import describe_file
from ..store.runfolder import copy_run, replacing
from .csv import guard_text
from .json import write_metrics

FOLDER: Final = "llmci-dvc"
RUN_NAME: Final = "run"
METRICS_NAME: Final = "metrics.json"
PLOTS_NAME: Final = "plots.csv"
PLOTTED: Final = ("latency", "tokens_per_s", "peak_rss")
"""Metrics that get a plot of their own, where a run has them."""


class DvcSink:
    """Writes that folder anew.

    :param target: the folder; empty for ``llmci-dvc`` in the working directory.
    """

    live_only = True
    whole_run = True

    def __init__(self, target: str = "") -> None:
        self._place = Path(os.path.expanduser(target or FOLDER))

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        place = self._place
        try:
            place.mkdir(parents=True, exist_ok=True)
            copy = copy_run(folder, place / RUN_NAME, hidden=False)
            with replacing(place / METRICS_NAME) as stream:
                write_metrics(stream, report)
            with replacing(place / PLOTS_NAME) as stream:
                metrics = write_plots(stream, report)
            written = [place / METRICS_NAME, place / PLOTS_NAME]
            if not stage_that_makes(copy):
                written += self._track(copy, metrics)
            _ignore(place / ".gitignore", f"/{RUN_NAME}")
        except OSError as error:
            raise SinkError(f"{error.filename or place}: cannot be written: {error.strerror or error}.") from error
        except SinkError:
            raise
        except LLMCIError as error:
            raise SinkError(str(error)) from error
        return written

    def _track(self, copy: Path, metrics: list[MetricDef]) -> list[Path]:
        pointer = copy.with_name(copy.name + POINTER_SUFFIX)
        files = [describe_file(copy, path.relative_to(copy).as_posix()) for path in copy.rglob("*") if path.is_file()]
        with replacing(pointer) as stream:
            stream.write(pointer_text(copy.name, files))
        stages = self._place / STAGES_NAME
        if stages.exists():  # the team's own plots
            return [pointer]
        with replacing(stages) as stream:
            stream.write(_stages_text({metric.name for metric in metrics}))
        return [pointer, stages]


_HEAD: Final = ("cell", "model", "prompt_id", "rounds")


def write_plots(stream: IO[str], report: SessionReport) -> list[MetricDef]:
    """Write plots.csv.

    :returns: the metrics that it has.
    """
    metrics = _measured_metrics(report)
    writer = csv.writer(stream, lineterminator="\n")  # as git likes it
    writer.writerow([*_HEAD, *(metric.name for metric in metrics)])
    writer.writerows(_rows(report, metrics))
    return metrics


def _measured_metrics(report: SessionReport) -> list[MetricDef]:
    """The metrics of rounds that any cell has a number of, in the run's order."""
    measured = {name for cell in report.cells for name, values in cell.columns.samples().items() if values}
    return [metric for metric in report.metrics if metric.name in measured and metric.name not in _HEAD]


def _rows(report: SessionReport, metrics: list[MetricDef]) -> Iterator[list[str | float | None]]:
    for cell in report.cells:
        texts = [guard_text(text) for text in (cell.id, cell.model, cell.prompt_id)]
        yield [*texts, cell.rounds, *(_median(cell, metric.name) for metric in metrics)]


def _median(cell: CellSummary, metric: str) -> float | None:
    return cell.summary(metric).numbers().get("median")


def _stages_text(metrics: set[str]) -> str:
    """The ``dvc.yaml`` that names metrics and plots.

    :param metrics: those that plots.csv has; others get no plot.
    """
    entries = [
        f"- llmci-{name.replace('_', '-')}:\n    template: bar_horizontal\n    title: median {name} of each cell\n"
        f"    x:\n      {PLOTS_NAME}: {name}\n    y:\n      {PLOTS_NAME}: cell\n"
        for name in PLOTTED
        if name in metrics
    ]
    return f"metrics:\n- {METRICS_NAME}\n" + ("plots:\n" + "".join(entries) if entries else "")


def _ignore(path: Path, line: str) -> None:
    there = path.read_text("utf-8") if path.exists() else ""
    if line not in there.splitlines():
        with replacing(path) as stream:
            stream.write(f"{there}{'' if not there or there.endswith(chr(10)) else chr(10)}{line}\n")
