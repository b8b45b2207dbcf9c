"""A run as Markdown: for the summary page of a CI job and for a comment on a pull request."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

from ...records import Missing, Number
from ...text import how_many, one_line, told_noisy
from ...units import format_bytes, format_duration, format_rate
from ..comparisons.explain_comparison import change_words, shown_results, wide_rows
from ..comparisons.slowdown import PARTS, Slowdown, of_record, row_of
from .costs import chosen_rows, doubtful_prices
from .elsewhere import elsewhere_text
from .headlines import headlines, verdict_line
from .load_table import load_rows, under_load
from .markdown import COMPARED_TEXTS, escaped, table
from .report import ModelSummary, SessionReport
from .retries import retry_text
from .tables import score_column, score_note, taken_over_text
from .task_table import rate_text

COMMENT_CHARACTERS: Final = 65_536
"""Longest comment on GitHub, and description on GitLab takes more."""
_ROWS: Final = (100, 50, 20, 10, 5, 2)
"""Rows of each table, fewer where the text would be too long."""
_LONGEST_REASON: Final = 300
_CUT: Final = "\n\n... cut here: the whole is in the run folder."
Column = tuple[str, Callable[[ModelSummary], str]]


def run_markdown(report: SessionReport, *, longest: int = COMMENT_CHARACTERS) -> str:
    """The verdict, what changed, what failed, the models, and where the rest is.

    :param longest: characters in UTF-8, so bytes; what would be longer has fewer rows, and says so.
    """
    for rows in _ROWS:
        text = "\n".join(_lines(report, rows)).rstrip() + "\n"
        if len(text.encode()) <= longest:
            return text
    return text.encode()[: longest - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT


def _lines(report: SessionReport, most: int) -> list[str]:
    return [
        f"### llmci: {escaped(verdict_line(report))}",
        "",
        *_compared(report, most),
        *_where(report, most),
        *_failed(report, most),
        *_tasks(report, most),
        *_loads(report, most),
        *_models(report, most),
        *_costs(report, most),
        *_details(report),
    ]


def _compared(report: SessionReport, most: int) -> list[str]:
    cells = [(cell.id, cell.comparisons) for cell in report.cells if cell.comparisons]
    if not cells:
        return []
    metrics = {metric.name: metric for metric in report.metrics}
    whole = [(gate.model, result) for gate in report.gates for result in gate.comparisons]
    rows = wide_rows(cells, whole, metrics)
    against = escaped(cells[0][1][0].against)
    if not rows:
        return [f"Compared with {against}: nothing changed in {how_many(len(cells), 'cell')}.", ""]
    headings = ("cell", "metric", "before", "now", "change", "interval", "verdict")
    words = change_words(shown_results(cells, whole))
    note = [f"change: {escaped(words)}.", ""] if words else []
    return [f"Compared with {against}:", "", *table(headings, rows, left=COMPARED_TEXTS, most=most), *note]


def _where(report: SessionReport, most: int) -> list[str]:
    """Where the time went in cells that became slower."""
    rows = [
        (cell.id, *row_of(found))
        for cell in report.cells
        if cell.slowdown is not None and isinstance(found := of_record(cell.slowdown), Slowdown)
    ]
    return table(("mean time of a call", *PARTS, "whole"), rows, left=(0,), most=most)


def _failed(report: SessionReport, most: int) -> list[str]:
    metrics = {metric.name: metric for metric in report.metrics}
    rows = [
        (cell.id, _shortened("; ".join(headlines(cell, metrics)) or "see the test's own failure"))
        for cell in report.cells
        if cell.verdict == "failed"
    ]
    rows += [
        (task.cell, _shortened("; ".join(headlines(task, metrics)) or "see the test's own failure"))
        for task in report.tasks
        if task.verdict == "failed"
    ]
    rows += [(gate.name, _shortened(gate.message)) for gate in report.gates if gate.outcome == "failed"]
    return table(("failed", "why"), rows, left=(0, 1), most=most)


def _shortened(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."


def _tasks(report: SessionReport, most: int) -> list[str]:
    """What each model reached in each benchmark; a part of one is called so."""
    rows = [
        (
            score.suite,
            model.alias,
            rate_text(score.metric, score.rate),
            str(score.rate.n),
            "" if score.whole else f"part: {score.label}",
        )
        for model in report.models
        for score in model.scores
    ]
    headings = ("benchmark", "model", "per cent", "questions", "of it")
    return table(headings, rows, left=(0, 1, 4), most=most)


def _loads(report: SessionReport, most: int) -> list[str]:
    """What was measured under load: medians of the runs, times from the intended sending."""
    cells = [cell for cell in under_load(report) if cell.rounds]
    headings, rows = load_rows(cells)
    return table(headings, rows, left=(0, 1), most=most)


def _models(report: SessionReport, most: int) -> list[str]:
    known = {metric.name for metric in report.metrics}
    models = [
        model
        for model in report.models
        if any(not cell.load for cell in model.cells) or not (model.cells or model.tasks)
    ]
    columns: list[Column] = [("model", lambda m: m.alias)]
    if "latency" in known:
        columns += [
            ("latency", lambda m: _shown(m.summary("latency").median, format_duration)),
            ("p95", lambda m: _shown(m.summary("latency").p95, format_duration)),
        ]
    if "ttft" in known:
        columns.append(("1st token", lambda m: _shown(m.summary("ttft").median, format_duration)))
    if "tokens_per_s" in known:
        columns.append(("tokens/s", lambda m: _shown(m.summary("tokens_per_s").median, format_rate)))
    if "peak_rss" in known:
        columns.append(("peak RAM", lambda m: _shown(m.summary("peak_rss").max, format_bytes)))
    columns += [
        *score_column(models),
        ("valid", lambda m: f"{m.valid_cells}/{m.checked_cells}" if m.checked_cells else "n/a"),
        ("rounds", lambda m: f"{m.rounds} ({m.noisy_rounds} noisy)" if m.noisy_rounds else str(m.rounds)),
    ]
    rows = [[read(model) for _, read in columns] for model in models]
    notes = [note for note in (_why_no_p95(models) if "latency" in known else "", score_note(models)) if note]
    return [
        *table([title for title, _ in columns], rows, left=(0,), most=most, what="models"),
        *(part for note in notes for part in (escaped(note), "")),
    ]


def _why_no_p95(models: Sequence[ModelSummary]) -> str:
    reasons = [p95.reason for model in models if isinstance(p95 := model.summary("latency").p95, Missing)]
    return f"n/a: {'; '.join(dict.fromkeys(reasons))}." if reasons else ""


def _shown(value: Number, write: Callable[[float], str]) -> str:
    return "n/a" if isinstance(value, Missing) else write(value)


def _costs(report: SessionReport, most: int) -> list[str]:
    costs = chosen_rows(report)
    rows = [
        (row.model, row.price.name, _shown(row.thousand, format_rate), _shown(row.million_tokens, format_rate))
        for row in costs
    ]
    headings = ("model", "price", "USD for 1,000 requests", "USD for a million tokens")
    notes = doubtful_prices(costs, date.fromisoformat(report.header.started[:10]))
    return [
        *table(headings, rows, left=(0, 1), most=most),
        *(part for note in notes for part in (escaped(note), "")),
    ]


def _details(report: SessionReport) -> list[str]:
    header = report.header
    rounds = report.count("rounds")
    git = header.environment.get("git")
    commit = git.get("commit") if isinstance(git, dict) else None
    facts = {
        "run": header.run_id,
        "command": shlex.join(header.command),
        "commit": str(commit or ""),
        "machine": str(header.environment.get("cpu") or header.environment.get("cpu_model") or ""),
        "other machines": elsewhere_text(report).removeprefix("Measured on other machines: "),
        "taken over": taken_over_text(report).removeprefix("Taken over "),
        "noise": told_noisy(report.count("noisy"), rounds) if rounds else "",
        "retries": retry_text(report).removeprefix("Retries: "),
        "log": f"sha256 {report.digest}",
    }
    lines = [f"- {name}: {escaped(text)}" for name, text in facts.items() if text]
    return ["<details><summary>How it was measured</summary>", "", *lines, "", "</details>"]
