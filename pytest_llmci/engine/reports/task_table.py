"""Benchmark tasks in the summary: a line a benchmark and model, and what keeps a rate from being the benchmark's score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...records import ComparisonResult
from ...text import one_line, wrapped
from ..answers import TaskSummary
from .report import ModelSummary, SessionReport

if TYPE_CHECKING:
    from ...tasks.counting import Rate

MOST_TASKS = 50
"""Lines of the table; the rest is in results.json."""


def task_lines(report: SessionReport, width: int) -> list[str]:
    """The table and its footnotes; nothing where no benchmark ran."""
    rows = [row for model in report.models for row in _rows(model)]
    if not rows:
        return []
    head = ["benchmark", "model", "questions", "rate, per cent", ""]
    shown = [head, *rows[:MOST_TASKS]]
    widths = [max(len(row[number]) for row in shown) for number in range(len(head))]
    lines = [
        "",
        *("   ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in shown),
    ]
    if len(rows) > MOST_TASKS:
        lines.append(f"... and {len(rows) - MOST_TASKS} more, in results.json")
    return [*lines, *_notes(report, width), *_compared(report, width)]


def _rows(model: ModelSummary) -> list[list[str]]:
    groups: dict[str, list[TaskSummary]] = {}
    for task in model.tasks:
        groups.setdefault(task.facts.suite if task.facts is not None else task.name, []).append(task)
    return [[suite, one_line(model.alias), *_found(suite, model, group)] for suite, group in groups.items()]


def _found(suite: str, model: ModelSummary, group: Sequence[TaskSummary]) -> list[str]:
    """Questions, rates, and a mark where they are no score of the benchmark."""
    answered = sum(task.answers.answered for task in group if task.answers is not None)
    asked = sum(task.facts.questions for task in group if task.facts is not None)
    score = next((score for score in model.scores if score.suite == suite), None)
    if score is None:
        failed = [task for task in group if not task.rates]
        of = f" of {len(group)} tests" if len(group) > 1 else ""
        why = "failed" if any(task.error is not None for task in failed) else "not finished"
        return [f"{answered}/{asked}", "n/a", f"{len(failed)}{of} {why}" if of else why]
    facts = group[0].facts
    assert facts is not None  # it has rates
    from ...tasks.counting import pooled

    rates = {metric: pooled([task.rates[metric] for task in group]) for metric in facts.metrics}
    return [
        str(asked),
        ", ".join(rate_text(metric, rate) for metric, rate in rates.items()),
        "" if score.whole else "part",
    ]


def rate_text(metric: str, rate: Rate) -> str:
    """``acc_norm 41.3 ± 2.8``."""
    return f"{metric} {100 * rate.value:.1f}" + ("" if rate.stderr is None else f" ± {100 * rate.stderr:.1f}")


def _notes(report: SessionReport, width: int) -> list[str]:
    parts = dict.fromkeys(
        f"{score.suite}: {score.label}" for model in report.models for score in model.scores if not score.whole
    )
    lines = [f"part: no score of the benchmark. {one_line(text)}." for text in parts]
    cut: dict[str, int] = {}
    for task in report.tasks:
        if task.answers is not None and task.answers.truncated:
            cut[task.name] = max(cut.get(task.name, 0), task.answers.truncated)
    lines += [
        f"{name}: {count} prompts lost their beginning, as they are longer than the model's context."
        for name, count in cut.items()
    ]
    resumed = sum(task.answers.resumed for task in report.tasks if task.answers is not None)
    runs = {record.resumed_from for task in report.tasks if task.answers for record in task.answers.records} - {""}
    if resumed:
        lines.append(f"{resumed} answers were taken over from {', '.join(sorted(runs))}.")
    return [line for text in lines for line in wrapped(text, width, rest="  ")]


def _compared(report: SessionReport, width: int) -> list[str]:
    """What each comparison found, in words."""
    told: list[tuple[str, ComparisonResult]] = [(task.cell, each) for task in report.tasks for each in task.comparisons]
    lines = [f"{one_line(cell)} against {one_line(each.against)}: {each.verdict}: {each.reason}" for cell, each in told]
    return ["", *(line for text in lines for line in wrapped(text, width, rest="  "))] if lines else []
