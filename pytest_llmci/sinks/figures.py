"""The numbers of a run that other tools follow from commit to commit: one a model and metric, and which way is better."""

from __future__ import annotations

from typing import NamedTuple

from ..engine.reports.report import ModelSummary
from ..metrics import Direction, MetricDef


class Figure(NamedTuple):
    """One metric of one model."""

    metric: MetricDef
    n: int
    """Rounds, or starts of the model's process."""
    median: float
    """SI."""
    std: float | None
    """None where one number has none."""


def figures(model: ModelSummary, *directions: Direction) -> list[Figure]:
    """The metrics of which it is known which way is better, in the header's order; what was not measured is left out.

    None at all where a cell of the model was not measured: the median of the others is that of other work.

    :param directions: those that are wanted.
    """
    if unmeasured_cells(model):
        return []
    found: list[Figure] = []
    for name, metric in model.metrics.items():
        numbers = model.statistics[name]
        if metric.direction in directions and "median" in numbers:
            found.append(Figure(metric, int(numbers["n"]), numbers["median"], numbers.get("std")))
    return found


def unmeasured_cells(model: ModelSummary) -> int:
    """Cells of which a part or all is missing: the model failed there, or was never asked."""
    return sum(cell.error is not None or cell.blocks == 0 for cell in model.cells)
