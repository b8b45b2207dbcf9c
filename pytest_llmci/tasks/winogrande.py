"""WinoGrande: which of two names fits into the gap of a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .base import DELIMITER, Doc, Hub, Task
from .counting import count_acc
from .rows import json_rows, place_of_label, refuse_empty, text_of

_SHAPES: Final = "the original JSON Lines: sentence with a '_', option1, option2, answer"


def doc_of(row: Mapping[str, object], where: str) -> Doc:
    """A row as it was published."""
    sentence = text_of(row, "sentence", where)
    if "_" not in sentence:
        raise ConfigError(f"{where}: 'sentence' has no '_' where one of the options goes.")
    options = (text_of(row, "option1", where), text_of(row, "option2", where))
    gold = place_of_label(row.get("answer"), ("1", "2"), "answer", where)
    return Doc(where=where, question=sentence, choices=options, gold=(gold,))


def read(path: Path) -> list[Doc]:
    """All questions of a file."""
    docs = [doc_of(row, where) for where, row in json_rows(path)]
    refuse_empty(docs, path)
    return docs


def _ask(doc: Doc, _subject: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The end of the sentence is scored behind its beginning with each option."""
    before, _, after = doc.question.partition("_")
    return tuple((before + option, (DELIMITER + after.strip(),)) for option in doc.choices)


TASK: Final = Task(
    name="winogrande", title="WinoGrande, validation", summary="which of two names fits into a sentence", version="1.0", metrics=("acc",),
    main="acc", size=1267, files=("winogrande.jsonl", "winogrande/dev.jsonl"), shapes=_SHAPES,
    hub=Hub(path="allenai/winogrande", name="winogrande_xl", split="validation"), read=read, doc=doc_of, ask=_ask, count=count_acc,
)  # fmt: skip
