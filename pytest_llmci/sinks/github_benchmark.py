"""``github-benchmark``: the models' medians for github-action-benchmark, which draws them from commit to commit.

The action takes one direction a file. FILE is for its tool ``customSmallerIsBetter``; what is better when it is greater goes to
a second file beside it, named ``FILE`` with ``-bigger`` before its ending, for ``customBiggerIsBetter``. A model of which a
cell was not measured has no medians, only that count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from ..engine.reports.report import ModelSummary, SessionReport
from ..metrics import Direction
from ..records import JsonObject
from .figures import Figure, figures, unmeasured_cells
from .files import target_file, written

FILE_NAME: Final = "github-benchmark.json"
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


class GithubBenchmarkSink:
    """Writes both files.

    :param target: the file of what is better when it is smaller; empty for ``github-benchmark.json`` in the run folder.
    """

    live_only = True

    def __init__(self, target: str = "") -> None:
        self._target = target

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        smaller = target_file(self._target, folder, FILE_NAME)
        bigger = smaller.with_name(f"{smaller.stem}-bigger{smaller.suffix}")
        _write(smaller, [entry for model in report.models for entry in [*_entries(model, "lower"), _unmeasured(model)]])
        _write(bigger, [entry for model in report.models for entry in _entries(model, "higher")])
        return [smaller, bigger]


def _write(path: Path, entries: list[JsonObject]) -> None:
    with written(path) as stream:
        stream.write("[\n" + ",\n".join(map(_encode, entries)) + "\n]\n")


def _entries(model: ModelSummary, direction: Direction) -> list[JsonObject]:
    return [_entry(model, figure) for figure in figures(model, direction)]


def _entry(model: ModelSummary, figure: Figure) -> JsonObject:
    """The action shows ``range`` beside the value; a single number has none."""
    what = "starts of the model's process" if figure.metric.scope == "worker" else "rounds"
    entry: JsonObject = {
        "name": f"{model.alias}: {figure.metric.heading}",
        "unit": figure.metric.unit,
        "value": figure.median,
        "extra": f"median of {what}: {figure.n}, cells: {len(model.cells)}\n{figure.metric.name}: {figure.metric.definition}",
    }
    return entry if figure.std is None else {**entry, "range": f"± {figure.std:.6g}"}


def _unmeasured(model: ModelSummary) -> JsonObject:
    return {
        "name": f"{model.alias}: unmeasured cells",
        "unit": "cells",
        "value": unmeasured_cells(model),
        "extra": f"cells: {len(model.cells)}",
    }
