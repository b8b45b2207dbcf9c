"""Why a cell did not pass, and what became of a run, in one line each: for tables, annotations and the first line of a failure."""

from __future__ import annotations

from collections.abc import Mapping

from ...metrics import MetricDef
from ...records import BudgetResult
from ...text import how_many
from ...units import format_quantity
from ..answers import TaskSummary
from ..comparisons.explain_comparison import regression_title
from .report import CellSummary, SessionReport


def verdict_line(report: SessionReport) -> str:
    """The verdict over a run, such as ``2 of 20 cells failed``."""
    verdicts = [*(cell.verdict for cell in report.cells), *(task.verdict for task in report.tasks)]
    noun = "cell" if not report.tasks else "benchmark task" if not report.cells else "test"
    judged, failed, undecided = len(verdicts), verdicts.count("failed"), verdicts.count("inconclusive")
    gates = [gate for gate in report.gates if gate.outcome == "failed"]
    if failed:
        text = f"{failed:,} of {how_many(judged, noun)} failed"
    elif gates:
        text = f"failed: {', '.join(gate.name for gate in gates)}"
    elif undecided:
        text = f"{undecided:,} of {how_many(judged, noun)} undecided, none failed"
    elif not judged:
        text = "nothing was judged"
    else:
        text = f"{how_many(judged, noun)} passed"
    if report.footer is None or report.recovered:
        text += " (the session was killed)"
    return text


def headlines(cell: CellSummary | TaskSummary, metrics: Mapping[str, MetricDef]) -> list[str]:
    """What failed in a cell or a benchmark task, the worst first; empty where nothing did.

    :param metrics: those of the run, by name.
    """
    if cell.error is not None:
        return [cell.error.message]
    found = [
        regression_title(result, metrics[result.metric])
        if result.metric in metrics
        else f"{result.metric} against {result.against}: {result.reason or 'worse'}"
        for result in cell.comparisons
        if result.verdict == "regressed" and not result.accepted
    ]
    if isinstance(cell, CellSummary):
        found += [f"{check.title}: {check.message}" for check in cell.checks if not check.passed]
    return found + [
        budget_headline(budget, metrics.get(budget.metric)) for budget in cell.budgets if budget.verdict == "failed"
    ]


def budget_headline(budget: BudgetResult, metric: MetricDef | None) -> str:
    """``latency 2.4 s > 2 s``."""
    if budget.observed is None or metric is None:
        return f"{budget.budget}: {budget.reason}"
    opposite = {"<=": ">", "<": ">=", ">=": "<", ">": "<=", "==": "!="}[budget.operator]
    statistic = "" if budget.statistic in ("median", "max") else f".{budget.statistic}"
    observed, limit = told_apart(budget.observed, budget.limit, metric)
    return f"{budget.metric}{statistic} {observed} {opposite} {limit}"


def told_apart(observed: float, limit: float, metric: MetricDef) -> tuple[str, str]:
    """Both as people read them, with as many digits as it takes to tell them apart."""
    shown, allowed = format_quantity(observed, metric.unit), format_quantity(limit, metric.unit)
    if shown == allowed and observed != limit:
        return f"{observed:.9g} {metric.unit}", f"{limit:.9g} {metric.unit}"
    return shown, allowed
