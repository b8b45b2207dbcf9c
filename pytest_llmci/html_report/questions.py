"""The questions of benchmark tasks that a model answered wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..text import one_line
from .facts import cut
from .table import Table

MOST_QUESTIONS: Final = 100
"""Of a benchmark task that were answered wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskView:
    """One benchmark task of one model."""

    name: str
    label: str
    right: int
    answered: int
    wrong: Table


def task_view(task: Any) -> TaskView:
    """:param task: a summary of a task, with its answers."""
    facts, answers = task.facts, task.answers
    main = answers.values(facts.main)
    places = [place for place, value in enumerate(main) if value < 1]
    columns = [answers.column(name) for name in ("index", "gold", "prediction")]
    outputs = answers.column("outputs") if facts.kind == "generation" else []
    rows = [
        (
            str(columns[0][place]),
            cut(one_line(str(outputs[place]))) if outputs else _choice(columns[2][place]),
            " or ".join(map(_choice, columns[1][place])) or "n/a",
        )
        for place in places[:MOST_QUESTIONS]
    ]  # fmt: skip
    return TaskView(
        name=f"{one_line(task.model)}: {one_line(task.name)}", label=one_line(facts.label), right=len(main) - len(places),
        answered=len(main),
        wrong=Table(headings=("question", "answer", "right"), rows=rows, more=len(places) - len(rows)),
    )  # fmt: skip


def _choice(place: Any) -> str:
    """A choice as a letter, as benchmarks print them."""
    return chr(ord("A") + place) if isinstance(place, int) and 0 <= place < 26 else str(place)
