"""ARC: grade-school science questions with three to five choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .base import Doc, Hub, Task, with_choices
from .counting import count_acc_norm
from .rows import json_rows, place_of, place_of_label, refuse_empty, text_of, texts_of, unknown_shape

_SHAPES: Final = "the original JSON Lines (question, choices, answerKey), or rows of query, choices and gold, or of instruction and answer"
_INSTRUCTION: Final = re.compile(
    r"Please choose the correct answer to the question: (?P<question>.*?)\s*\n\s*\n\s*(?P<answers>Answer1: .*?)\s*\n\s*\n\s*"
    r"Answer format: (?P<format>\S+)\s*\Z",
    re.DOTALL,
)


def doc_of(row: Mapping[str, object], where: str) -> Doc:
    """A row in any of its shapes."""
    if "answerKey" in row:
        return _original(row, where)
    if "query" in row:
        choices = texts_of(row, "choices", where)
        question = text_of(row, "query", where).removeprefix("Question: ").removesuffix("\nAnswer:")
        return Doc(where=where, question=question, choices=choices, gold=(place_of(row, "gold", len(choices), where),))
    if "instruction" in row:
        return _instruction(row, where)
    return unknown_shape(row, _SHAPES, where)


def _original(row: Mapping[str, object], where: str) -> Doc:
    """As AI2 published it, or as the hub has it: there the choices are two lists."""
    question: object = row.get("question")
    choices: object = row.get("choices")
    if isinstance(question, Mapping):
        choices, question = question.get("choices"), question.get("stem")
    if isinstance(choices, list) and all(isinstance(choice, Mapping) for choice in choices):
        choices = {"text": [c.get("text") for c in choices], "label": [c.get("label") for c in choices]}
    if not isinstance(choices, Mapping):
        raise ConfigError(f"{where}: 'choices' should hold a text and a label for each choice.")
    texts, labels = (texts_of(choices, key, where) for key in ("text", "label"))
    if len(texts) != len(labels):
        raise ConfigError(f"{where}: 'choices' holds {len(texts)} texts and {len(labels)} labels.")
    asked = text_of({"question": question}, "question", where)
    gold = place_of_label(row["answerKey"], labels, "answerKey", where)
    return Doc(where=where, question=asked, choices=texts, gold=(gold,))


def _instruction(row: Mapping[str, object], where: str) -> Doc:
    found = _INSTRUCTION.match(text_of(row, "instruction", where))
    if found is None:
        raise ConfigError(
            f"{where}: 'instruction' should read 'Please choose the correct answer to the question: ...', then 'Answer1: ...' and"
            " 'Answer format: answer1/answer2/...'."
        )
    names = found["format"].split("/")
    parts = re.split(r"(?:^|\s+)Answer(\d+): ", found["answers"])
    numbers, choices = parts[1::2], tuple(parts[2::2])
    if numbers != [name.removeprefix("answer") for name in names]:
        raise ConfigError(
            f"{where}: 'instruction' holds {len(numbers)} answers, and its format names {len(names)}: {found['format']}."
        )
    texts = texts_of({"answers": choices}, "answers", where)
    gold = place_of_label(text_of(row, "answer", where), names, "answer", where)
    return Doc(where=where, question=found["question"], choices=texts, gold=(gold,))


def read(path: Path) -> list[Doc]:
    """All questions of a file."""
    docs = [doc_of(row, where) for where, row in json_rows(path)]
    refuse_empty(docs, path)
    return docs


def _ask(doc: Doc, _subject: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return with_choices(f"Question: {doc.question}\nAnswer:", doc.choices)


_of_either = partial(
    Task, version="1.0", metrics=("acc", "acc_norm"), main="acc_norm", shapes=_SHAPES, read=read, doc=doc_of, ask=_ask,
    count=count_acc_norm,
)  # fmt: skip
CHALLENGE: Final = _of_either(
    name="arc_challenge", title="ARC-Challenge, test", summary="hard science questions of school exams", size=1172,
    files=("arc_challenge.jsonl", "*/arc_challenge.jsonl", "ARC-Challenge-Test.jsonl", "**/ARC-Challenge-Test.jsonl"),
    hub=Hub(path="allenai/ai2_arc", name="ARC-Challenge", split="test"),
)  # fmt: skip
EASY: Final = _of_either(
    name="arc_easy", title="ARC-Easy, test", summary="easier science questions of school exams", size=2376,
    files=("arc_easy.jsonl", "*/arc_easy.jsonl", "ARC-Easy-Test.jsonl", "**/ARC-Easy-Test.jsonl"),
    hub=Hub(path="allenai/ai2_arc", name="ARC-Easy", split="test"),
)  # fmt: skip
