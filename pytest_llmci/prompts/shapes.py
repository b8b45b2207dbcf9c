"""Rows as other projects write them, and columns that the user names: what they are here.

A shape is recognized by its keys alone, so that a row either is of a shape that is listed or is refused with its unknown key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..errors import ConfigError
from ..slugs import slug
from .base import Row
from .rows import CONTENT_KEYS, KEYS
from .values import kind

_OURS: Final = frozenset(KEYS)

_SPEAKERS: Final = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "bard": "assistant", "bing": "assistant", "system": "system",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One shape of foreign rows."""

    name: str
    """As people know it."""
    keys: frozenset[str]
    """What each row has."""
    others: frozenset[str]
    """What it may have."""
    convert: Callable[[Mapping[str, Any]], dict[str, object]]
    """The row in our keys."""
    reading: str
    """What becomes of it, for people."""


def _answered(
    prompt: str, *answers: str, category: str = "category"
) -> Callable[[Mapping[str, Any]], dict[str, object]]:
    def convert(row: Mapping[str, Any]) -> dict[str, object]:
        answer = next((row[name] for name in answers if row.get(name) not in (None, "")), None)
        return _kept(row, prompt=row.get(prompt, ""), reference=answer, tags=row.get(category))

    return convert


def _kept(row: Mapping[str, Any], **found: object) -> dict[str, object]:
    return {key: value for key, value in {"id": row.get("id"), **found}.items() if value is not None and value != ""}


def _instruction(context: str, *answers: str) -> Callable[[Mapping[str, Any]], dict[str, object]]:
    def convert(row: Mapping[str, Any]) -> dict[str, object]:
        found = _answered("instruction", *answers)(row)
        if isinstance(more := row.get(context), str) and more.strip() and isinstance(row["instruction"], str):
            found["prompt"] = f"{row['instruction']}\n\n{more}"
        return found

    return convert


def _turns(row: Mapping[str, Any]) -> dict[str, object]:
    turns, references = row["turns"], row.get("reference")
    if not isinstance(turns, list) or not turns:
        raise ConfigError(
            f"key 'turns': expected a list of texts, found {'an empty list' if turns == [] else kind(turns)}."
        )
    tags = [text for text in (row.get("category"),) if text]
    if len(turns) > 1:
        tags.append(f"turn-1-of-{len(turns)}")
    reference = references[0] if isinstance(references, list) and references else references
    return {
        key: value
        for key, value in {"id": row["question_id"], "prompt": turns[0], "tags": tags, "reference": reference}.items()
        if value not in (None, "", [])
    }


def _conversation(row: Mapping[str, Any]) -> dict[str, object]:
    said = row["conversations"]
    if not isinstance(said, list) or not said:
        raise ConfigError("key 'conversations': expected a list of messages, each with 'from' and 'value'.")
    messages = [_spoken(entry, number) for number, entry in enumerate(said, 1)]
    reference = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
    if not messages:
        raise ConfigError("key 'conversations': the model's answer alone; nothing is asked.")
    if messages[-1]["role"] != "user":
        raise ConfigError("key 'conversations': nothing is asked before the last answer.")
    return _kept(row, messages=messages, reference=reference)


def _spoken(entry: object, number: int) -> dict[str, Any]:
    if not isinstance(entry, Mapping) or not {"from", "value"} <= entry.keys():
        raise ConfigError(f"key 'conversations', message {number}: expected a mapping with 'from' and 'value'.")
    role = _SPEAKERS.get(str(entry["from"]))
    if role is None:
        raise ConfigError(
            f"key 'conversations', message {number}: unknown speaker '{str(entry['from'])[:20]}'; known: {', '.join(_SPEAKERS)}."
        )
    return {"role": role, "content": entry["value"]}


def _act(row: Mapping[str, Any]) -> dict[str, object]:
    name = row.get("act")
    tags = "for-devs" if str(row.get("for_devs", "")).upper() == "TRUE" else None
    return _kept(row, id=slug(name) if isinstance(name, str) else name, prompt=row["prompt"], tags=tags)


SHAPES: Final = (
    Shape(
        name="MT-Bench questions", keys=frozenset({"question_id", "turns"}), others=frozenset({"category", "reference"}), convert=_turns,
        reading="the first turn is the prompt (a later one needs the model's answer to it), with a tag turn-1-of-N where there are more",
    ),
    Shape(
        name="ShareGPT conversations", keys=frozenset({"conversations"}), others=frozenset({"id"}), convert=_conversation,
        reading="messages up to the last question; the answer to it is the reference",
    ),
    Shape(
        name="Alpaca instructions", keys=frozenset({"instruction", "output"}), others=frozenset({"id", "input", "text"}),
        convert=_instruction("input", "output"), reading="instruction, blank line and input are the prompt, output the reference",
    ),
    Shape(
        name="Dolly instructions", keys=frozenset({"instruction", "response"}), others=frozenset({"id", "context", "category"}),
        convert=_instruction("context", "response"), reading="instruction, blank line and context are the prompt, response the reference",
    ),
    Shape(
        name="prompts with a response", keys=frozenset({"prompt", "response"}), others=frozenset({"id"}),
        convert=_answered("prompt", "response"), reading="response is the reference",
    ),
    Shape(
        name="prompts with a completion", keys=frozenset({"prompt", "completion"}), others=frozenset({"id"}),
        convert=_answered("prompt", "completion"), reading="completion is the reference",
    ),
    Shape(
        name="questions with an answer", keys=frozenset({"question", "answer"}), others=frozenset({"id", "category"}),
        convert=_answered("question", "answer"), reading="question is the prompt, answer the reference",
    ),
    Shape(
        name="awesome-chatgpt-prompts", keys=frozenset({"act", "prompt"}), others=frozenset({"id", "for_devs", "type", "contributor"}),
        convert=_act, reading="act is the id, TRUE in for_devs the tag for-devs",
    ),
)  # fmt: skip
"""The first that fits is taken; none of them is of our keys alone."""


def shape_of(names: Collection[str]) -> Shape | None:
    """The shape of rows with these keys.

    >>> shape_of(["instruction", "input", "output"]).name, shape_of(["prompt", "tags"])
    ('Alpaca instructions', None)
    """
    keys = set(names)
    return next((each for each in SHAPES if each.keys <= keys <= each.keys | each.others), None)


def adapted(rows: Sequence[Row], columns: Mapping[str, str], file: str) -> tuple[list[Row], Shape | None]:
    """The rows in our keys, and the shape that they had, if it was another one.

    :param columns: our key -> the name in the file, as the user said; then no shape is looked for.
    """
    found, shape = [], None
    for row in rows:
        value = row.value
        if not isinstance(value, Mapping) or row.generated:
            found.append(row)
            continue
        try:
            if columns:
                found.append(replace(row, value=renamed(value, columns)))
                continue
            here = None if value.keys() <= _OURS else shape_of(value)
            if here is None and shape is not None and _fits(shape, value):
                here = shape
            shape = here or shape
            found.append(row if here is None else replace(row, value=here.convert(value)))
        except ConfigError as error:
            found.append(replace(row, value=None, fault=ConfigError(f"{file}, {row.position}: {error}")))
    return found, shape


def _fits(shape: Shape, row: Mapping[str, object]) -> bool:
    """Whether a row is of a shape but for an answer that is absent: an empty cell of a table."""
    missing = shape.keys - row.keys()
    return row.keys() <= shape.keys | shape.others and missing <= {"output", "response", "completion", "answer", "act"}


def renamed(row: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    """The row in our keys, by the names that the user gave; what has none is left out.

    :param columns: our key -> the name in the file.
    :raises ConfigError: if the row has no such prompt.
    """
    for ours, theirs in columns.items():
        if ours in CONTENT_KEYS and theirs not in row:
            raise ConfigError(
                f"there is no '{theirs}' ({ours}={theirs}); it has {', '.join(map(str, row)) or 'nothing'}."
            )
    found = {ours: row[theirs] for ours, theirs in columns.items() if row.get(theirs) not in (None, "")}
    for key in ("prompt", "reference", "template", "system"):
        if isinstance(value := found.get(key), int | float) and not isinstance(value, bool):
            found[key] = str(value)
    if isinstance(name := found.get("id"), str):
        found["id"] = slug(name)
    return found
