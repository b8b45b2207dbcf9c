"""Checks one row of a prompt file and makes a prompt of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from ..errors import ConfigError, UnknownNameError
from ..records import Message, Prompt
from ..slugs import slug
from ..text import one_line
from .base import Row

KEYS: Final = ("id", "prompt", "messages", "reference", "tags", "checks", "max_new_tokens")
"""What a row may hold."""
LIST_KEYS: Final = frozenset({"messages", "tags", "checks"})
ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_ID: Final = re.compile(r"(?!.*::)[!-~]+\Z")
_NOT_IN_IDS: Final = frozenset("[]@=/")


def to_prompt(row: Row, file: str, *, make_id: Callable[[str], str] = slug) -> Prompt:
    """The prompt that a row holds.

    :param file: name of the set or file, for messages and the prompt's source.
    :param make_id: makes of the text of a row without an id one.
    :raises ConfigError: in one line that names file, row and key.
    """
    where = f"{file}, {row.position}"
    data = {"prompt": row.value} if isinstance(row.value, str) else row.value
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a text or a mapping with the key 'prompt', found {_kind(data)}.")
    for key in data:
        if key not in KEYS:
            raise UnknownNameError.build(where, "key", one_line(str(key)), KEYS)
    text, messages = _content({key: value for key, value in data.items() if value is not None}, where)
    prompt = Prompt(
        id="",
        text=text,
        messages=messages,
        reference=_text(data.get("reference"), where, "reference"),
        tags=_texts(data.get("tags"), where, "tags"),
        checks=_texts(data.get("checks"), where, "checks"),
        max_new_tokens=_length(data.get("max_new_tokens"), where),
        source=f"{file}, {row.position}",
    )
    return _with_id(prompt, data.get("id"), where, make_id)


def _content(data: Mapping[str, object], where: str) -> tuple[str | None, tuple[Message, ...]]:
    if "prompt" in data and "messages" in data:
        raise ConfigError(f"{where}: both 'prompt' and 'messages' are given; keep one of them.")
    if "prompt" in data:
        text = _text(data["prompt"], where, "prompt") or ""
        if not text.strip():
            raise ConfigError(f"{where}: key 'prompt' is empty; write the text that the model gets, or remove the row.")
        return text, ()
    if "messages" not in data:
        raise ConfigError(f"{where}: neither 'prompt' nor 'messages' is given; write one of them.")
    return None, _messages(data["messages"], where)


def _messages(value: object, where: str) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise _wrong_type("messages", "a list of messages, each with 'role' and 'content'", value, where)
    if not value:
        raise ConfigError(f"{where}: key 'messages' is empty; write at least one message.")
    return tuple(_message(message, f"{where}, message {number}") for number, message in enumerate(value, 1))


def _message(value: object, where: str) -> Message:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected a mapping with 'role' and 'content', found {_kind(value)}.")
    for key in value:
        if key not in ("role", "content"):
            raise UnknownNameError.build(where, "key", one_line(str(key)), ("role", "content"))
    role, content = (_text(value.get(key), where, key) for key in ("role", "content"))
    if role is None or content is None:
        raise ConfigError(f"{where}: key '{'role' if role is None else 'content'}' is missing.")
    if role not in ROLES:
        raise UnknownNameError.build(f"{where}, key 'role'", "role", one_line(role), ROLES)
    if not content.strip():
        raise ConfigError(f"{where}: key 'content' is empty; write the message, or remove it.")
    return Message(role=role, content=content)


def _text(value: object, where: str, key: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong_type(
            key, "text; put it in quotes" if isinstance(value, bool | int | float) else "text", value, where
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"U+{ord(value[error.start]):04X}"
        raise ConfigError(
            f"{where}: key '{key}' holds half of a surrogate pair ({half}) at character {error.start + 1}, which no"
            " file can store; write the whole character."
        ) from None
    return value


def _texts(value: object, where: str, key: str) -> tuple[str, ...]:
    if value is None:
        return ()
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, str) or not entry.strip():
            raise _wrong_type(key, "a text or a list of texts, none of them empty", entry, where)
    return tuple(_text(entry, where, key) or "" for entry in entries)


def _length(value: object, where: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type("max_new_tokens", "a whole number", value, where)
    if value < 1:
        raise ConfigError(f"{where}: key 'max_new_tokens': {value} is too small; write a whole number of at least 1.")
    return value


def _with_id(prompt: Prompt, given: object, where: str, make_id: Callable[[str], str]) -> Prompt:
    if given is None:
        return replace(prompt, id=make_id(prompt.shown))
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str):
        raise _wrong_type("id", "text", given, where)
    if not _ID.match(given) or _NOT_IN_IDS & set(given):
        raise ConfigError(
            f"{where}: key 'id': '{one_line(given)[:60]}' cannot be part of a test's name; use ASCII letters, digits,"
            f" '.', '_' and '-', such as '{slug(given) or 'greeting'}'."
        )
    return replace(prompt, id=given)


def _wrong_type(key: str, expected: str, found: object, where: str) -> ConfigError:
    return ConfigError(f"{where}: key '{key}': expected {expected}, found {_kind(found)}.")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value!r:.30}"
    if isinstance(value, str):
        return "an empty text" if not value.strip() else "a text"
    names = {"NoneType": "nothing", "list": "a list", "dict": "a mapping", "date": "a date", "datetime": "a date"}
    return names.get(type(value).__name__, type(value).__name__)
