"""Budgets on the score of a whole model: over several benchmarks, or over the subjects of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from ..records import GateRecord
from ..stats.budget_expression import Budget
from ..units import format_quantity
from .answers import TaskSummary, benchmark_scores


def score_gates(
    tasks: Iterable[TaskSummary], budgets: Sequence[Budget], judged: Iterable[Budget], *, uid: str = ""
) -> list[GateRecord]:
    """One gate for each model and budget that no single test decides.

    :param tasks: of the session, all models.
    :param budgets: of the session, of any scope.
    :param judged: those that single tests decide.
    """
    alone = {id(budget) for budget in judged}
    models: dict[str, list[TaskSummary]] = {}
    for task in tasks:
        models.setdefault(task.model, []).append(task)
    return [
        _gate(alias, budget, own, uid)
        for alias, own in models.items()
        for budget in budgets
        if budget.metric.scope == "task" and budget.applies_to(alias) and id(budget) not in alone
    ]


def _gate(alias: str, budget: Budget, tasks: Sequence[TaskSummary], uid: str) -> GateRecord:
    """Over all benchmarks each counts the same; over the subjects of one, each question does."""
    mean = budget.statistic == "mean"
    meant = [task for task in tasks if mean or (task.facts is not None and task.facts.suite == budget.statistic)]
    lacking = [task.name for task in meant if not task.rates]
    name = f"score-{alias}" if mean else f"score-{alias}-{budget.statistic}"
    if lacking or not meant:
        why = f"{', '.join(lacking[:5])} has no score" if lacking else f"{budget.statistic} was not asked"
        return GateRecord(
            uid=uid, name=name, model=alias, outcome="failed", message=f"{budget.text} (from {budget.origin}): {why}"
        )
    scores = benchmark_scores(meant)
    value = fmean(score.per_cent for score in scores)
    parts = [f"{score.suite} {score.per_cent:.1f} % ({score.metric} over {score.label})" for score in scores]
    met = budget.is_met_by(value)
    what = f"mean of {len(scores)} benchmarks " if len(scores) > 1 else ""
    found = f"{'met' if met else 'missed'}: {what}{format_quantity(value, budget.metric.unit)}"
    reasons = [f"{budget.text} (from {budget.origin}): {found}", *parts]
    return GateRecord(
        uid=uid,
        name=name,
        model=alias,
        outcome="passed" if met else "failed",
        message="; ".join(reasons),
        reasons=reasons,
    )
