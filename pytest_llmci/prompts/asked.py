"""What a test's own code asks a model: a text, a prompt, or the messages of a chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..errors import ConfigError
from ..records import TEST_BODY, Message, Prompt
from ..slugs import slug

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


def prompt_of(
    text_or_prompt: str | Prompt | Sequence[Mapping[str, str]],
    make_id: Callable[[str], str] = slug,
    where: str = "llm.generate",
) -> Prompt:
    """What a test handed to ``llm.generate`` as a prompt with an id.

    :param make_id: makes one of the text.
    :param where: it was handed to, for the message.
    :raises ConfigError: if it is neither text, a prompt nor a list of messages.
    """
    if isinstance(text_or_prompt, Prompt):
        return text_or_prompt
    if isinstance(text_or_prompt, str):
        return Prompt(id=make_id(text_or_prompt), text=text_or_prompt, source=TEST_BODY)
    messages = _messages(text_or_prompt)
    if not messages:
        raise ConfigError(
            f"{where}: expected text, a prompt or a list of {{'role': ..., 'content': ...}}, got {type(text_or_prompt).__name__}."
        )
    prompt = Prompt(id="-", messages=messages, source=TEST_BODY)
    return replace(prompt, id=make_id(prompt.shown))


def _messages(given: Sequence[Mapping[str, str]]) -> tuple[Message, ...]:
    """The messages of a chat; none if it is no such list."""
    try:
        messages = tuple(Message(role=entry["role"], content=entry["content"]) for entry in given)
    except (TypeError, KeyError):
        return ()
    return messages if all(isinstance(text, str) for each in messages for text in (each.role, each.content)) else ()
