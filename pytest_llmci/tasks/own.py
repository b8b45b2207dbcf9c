"""A user's own questions: JSON Lines of query, choices and gold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .base import Doc, Task, with_choices
from .counting import count_acc_norm
from .rows import json_rows, place_of, refuse_empty, text_of, texts_of, unknown_shape

_SHAPES: Final = "JSON Lines of query, choices and gold (the place of the right choice, from 0)"


def doc_of(row: Mapping[str, object], where: str) -> Doc:
    """One row; the model gets the query as it stands."""
    if "query" not in row:
        unknown_shape(row, _SHAPES, where)
    choices = texts_of(row, "choices", where)
    gold = place_of(row, "gold", len(choices), where)
    return Doc(where=where, question=text_of(row, "query", where), choices=choices, gold=(gold,))


def read(path: Path) -> list[Doc]:
    """All questions of a file; each may stand there once."""
    docs = [doc_of(row, where) for where, row in json_rows(path)]
    refuse_empty(docs, path)
    first: dict[tuple[str, tuple[str, ...]], Doc] = {}
    for doc in docs:
        there = first.setdefault((doc.question, doc.choices), doc)
        if there is not doc:
            again = "repeats" if there.gold == doc.gold else "contradicts"
            place = there.where.rpartition(", ")[2]
            raise ConfigError(f"{doc.where}: {again} {place}: a question counts once; remove one of the two.")
    return docs


def _ask(doc: Doc, _subject: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return with_choices(doc.question.rstrip(), doc.choices)


def own_task(name: str) -> Task:
    """The task of a file of that name."""
    return Task(
        name=name, title=name, summary="questions of your own", version="", metrics=("acc", "acc_norm"), main="acc", shapes=_SHAPES,
        read=read, doc=doc_of, ask=_ask, count=count_acc_norm,
    )  # fmt: skip
