"""GSM8K: word problems of grade school; the answer is generated and its last number compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .base import Doc, Generation, Hub, Task
from .counting import count_numbers
from .rows import json_rows, refuse_empty, text_of

_SHAPES: Final = "the original JSON Lines: question and answer, the latter ending in '#### 42'"


def doc_of(row: Mapping[str, object], where: str) -> Doc:
    """A row as it was published."""
    answer = text_of(row, "answer", where)
    if "#### " not in answer:
        raise ConfigError(f"{where}: 'answer' has no '#### ' with the number behind it.")
    return Doc(where=where, question=text_of(row, "question", where), answer=answer)


def read(path: Path) -> list[Doc]:
    """All questions of a file."""
    docs = [doc_of(row, where) for where, row in json_rows(path)]
    refuse_empty(docs, path)
    return docs


def _ask(doc: Doc, _subject: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ((f"Question: {doc.question}\nAnswer:", ()),)


TASK: Final = Task(
    name="gsm8k", title="GSM8K, test", summary="word problems; the model writes its way to a number", version="3.0",
    metrics=("exact_match", "exact_match_flexible"), main="exact_match", size=1319, shots=5, kind="generation",
    files=("gsm8k/test.jsonl", "gsm8k.jsonl"), shapes=_SHAPES,
    hub=Hub(path="openai/gsm8k", name="main", split="test", examples_split="train"), read=read, doc=doc_of, ask=_ask,
    count=count_numbers, generation=Generation(until=("Question:", "</s>", "<|im_end|>"), max_new_tokens=256), examples="drawn",
    examples_of=lambda path: path.parent / f"train{path.suffix}",
)  # fmt: skip
