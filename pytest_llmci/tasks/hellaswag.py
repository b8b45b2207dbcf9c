"""HellaSwag: which of four sentences goes on with a text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .base import Doc, Hub, Task, with_choices
from .counting import count_acc_norm
from .rows import json_rows, place_of, read_text, refuse_empty, text_of, texts_of, unknown_shape

_SHAPES: Final = (
    "the original JSON Lines (activity_label, ctx_a, ctx_b or ctx, endings, label), or the text form of llama.cpp, six lines"
    " a question"
)
_JOINED: Final = "contexts as the file joins them (the harness begins their second half with a capital)"
_LINES: Final = 6
_TEXT_FORM: Final = ".txt"


def doc_of(row: Mapping[str, object], where: str) -> Doc:
    """A row as it was published; one that holds the context joined, without its halves, keeps that one's spelling."""
    if "endings" not in row:
        unknown_shape(row, _SHAPES, where)
    halves = "ctx_a" in row and "ctx_b" in row
    context = f"{row['ctx_a']} {str(row['ctx_b']).capitalize()}" if halves else text_of(row, "ctx", where)
    endings = texts_of(row, "endings", where)
    return Doc(
        where=where,
        question=_cleaned(f"{text_of(row, 'activity_label', where)}: {context}"),
        choices=tuple(map(_cleaned, endings)),
        gold=(place_of(row, "label", len(endings), where),),
        variant="" if halves else _JOINED,
    )


def _cleaned(text: str) -> str:
    """Without the marks of the WikiHow part, as the harness takes them out."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def read(path: Path) -> list[Doc]:
    """All questions of a file."""
    docs = _text_form(path) if path.suffix == _TEXT_FORM else [doc_of(row, where) for where, row in json_rows(path)]
    refuse_empty(docs, path)
    return docs


def _text_form(path: Path) -> list[Doc]:
    lines = read_text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) % _LINES:
        raise ConfigError(
            f"{path.name}: {len(lines)} lines are no whole number of questions of {_LINES} lines each: context, number of the right"
            " ending, four endings."
        )
    docs = []
    for start in range(0, len(lines), _LINES):
        context, label, *endings = lines[start : start + _LINES]
        where = f"{path.name}, line {start + 1}"
        row = {"context": _cleaned(context), "label": label, "endings": list(map(_cleaned, endings))}
        choices = texts_of(row, "endings", where)
        gold = place_of(row, "label", len(choices), where)
        docs.append(
            Doc(where=where, question=text_of(row, "context", where), choices=choices, gold=(gold,), variant=_JOINED)
        )
    return docs


def _ask(doc: Doc, _subject: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return with_choices(doc.question, doc.choices)


TASK: Final = Task(
    name="hellaswag", title="HellaSwag, validation", summary="which sentence goes on with a text", version="1.0",
    metrics=("acc", "acc_norm"), main="acc_norm", size=10042,
    files=(
        "hellaswag_val.jsonl", "*/hellaswag_val.jsonl", "hellaswag_val.txt", "*/hellaswag_val.txt", "hellaswag_val_full.txt",
        "*/hellaswag_val_full.txt", "hellaswag.jsonl",
    ),
    shapes=_SHAPES, hub=Hub(path="Rowan/hellaswag", name=None, split="validation"), read=read, doc=doc_of, ask=_ask, count=count_acc_norm,
)  # fmt: skip
