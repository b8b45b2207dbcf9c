"""The failure text of a benchmark task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...metrics import MetricDef
from ...records import BudgetResult, VerdictRecord
from ...tasks.counting import Rate
from ...text import one_line, plain, wrapped
from ...units import format_quantity
from ..benchmark import TaskMeasurement
from .explain import (
    UNDECIDED,
    WIDTH,
    Explained,
    ExplainedBudget,
    ExplainedRegression,
    Undecided,
    command_line,
    explain_error,
)


def explain_task(
    verdict: VerdictRecord, measurement: TaskMeasurement, repeat: Sequence[str], *, fail_undecided: bool, metrics: Mapping[str, MetricDef],
    room: int = WIDTH,
) -> Explained | None:  # fmt: skip
    """The exception that tells why a task did not pass; None if it did, or is undecided where that does not fail.

    :param repeat: the command that runs it again, in parts that stay on one line.
    :param room: columns of the terminal.
    """
    if verdict.error is not None:
        return explain_error(verdict.error, room)
    failed = [budget for budget in verdict.budgets if budget.verdict == "failed"]
    worse = [each for each in verdict.comparisons if each.verdict == "regressed" and not each.accepted]
    unsure = [each for each in verdict.comparisons if each.verdict in UNDECIDED]
    if not (failed or worse) and not (fail_undecided and verdict.verdict == "inconclusive"):
        return None
    titles = [_missed(budget, metrics[budget.metric]) for budget in failed]
    titles += [f"{each.metric} against {one_line(each.against)}: {each.reason}" for each in worse]
    if not titles:
        titles = [f"{each.metric} against {one_line(each.against)}: {each.reason}" for each in unsure]
    if not titles:
        answers = measurement.answers
        of = f"{answers.answered} of {answers.facts.questions}" if answers.records else "no"
        titles = [f"{of} questions were answered: out of time (--llmci-time-limit)"]
    word = "BudgetExceeded" if failed else "RegressionDetected" if worse else "Inconclusive"
    lines = [line for title in titles for line in wrapped(f"{word}: {title}", room, rest="  ")]
    lines += ["", *_context(verdict, measurement, failed, room), command_line("repeat", repeat, room)]
    text, headline = "\n".join(lines), plain("; ".join(titles))
    return (ExplainedBudget if failed else ExplainedRegression if worse else Undecided)(text, headline)


def _missed(budget: BudgetResult, metric: MetricDef) -> str:
    opposite = {"<=": ">", "<": ">=", ">=": "<", ">": "<=", "==": "!="}[budget.operator]
    observed = "n/a" if budget.observed is None else format_quantity(budget.observed, metric.unit)
    return f"{budget.metric}.{budget.statistic} {observed} {opposite} {format_quantity(budget.limit, metric.unit)}"


def _context(
    verdict: VerdictRecord, measurement: TaskMeasurement, failed: Sequence[BudgetResult], room: int
) -> list[str]:
    rows = [("limit", f"{budget.budget}    from {budget.origin}") for budget in failed]
    rows += [("decided", budget.reason) for budget in failed]
    if measurement.answers.records:
        facts = measurement.answers.facts
        rows.append(("questions", f"{facts.title}: {facts.label}, of {facts.source}"))
        rows += [("found", ", ".join(rate_text(name, rate) for name, rate in measurement.answers.rates.items()))]
    rows.append(("model", verdict.model))
    return [
        line for label, text in rows if text for line in wrapped(text, room, first=f"  {label:<10} ", rest=" " * 13)
    ]


def rate_text(metric: str, rate: Rate) -> str:
    """``acc_norm 41.3 % ± 2.8``."""
    error = "" if rate.stderr is None else f" ± {100 * rate.stderr:.1f}"
    return f"{metric} {100 * rate.value:.1f} %{error}"
