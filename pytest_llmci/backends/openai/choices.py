"""What stands in the choices of a chunk or a document: text, reasoning, calls of tools, log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .answer import Choice, TokenLogprob

_ENDLESS: Final = 1e300
"""A log-probability beyond is none."""
_THINKING: Final = ("thinking", "reasoning")
"""Types of parts of a content that are no answer."""


def first_choice(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The choice of index 0, also where others came before it; None where there is none."""
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices:
        return None
    first = choices[0]
    if isinstance(first, dict) and first.get("index", 0) == 0:
        return first
    return next((each for each in choices if isinstance(each, dict) and each.get("index", 0) == 0), None)


def all_choices(choices: list[Any]) -> list[Choice]:
    """In the order of their indices; empty where these are not the numbers from nought."""
    found = {str(each.get("index", 0)): each for each in choices if isinstance(each, dict)}
    if found.keys() != {str(number) for number in range(len(choices))}:
        return []
    return [
        Choice(text=text_of(each.get("text")), logprobs=tuple(read_logprobs(each.get("logprobs"), chat=False)))
        for each in (found[str(number)] for number in range(len(choices)))
    ]


def text_of(value: object) -> str:
    """A text, or the texts of a list of parts, those of reasoning left out."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = (part for part in value if isinstance(part, dict) and part.get("type") not in _THINKING)
        return "".join(str(part.get("text") or "") for part in parts)
    return ""


def reasoning_of(message: Mapping[str, Any], said: object) -> str:
    """Text of the reasoning: of a field of its own, or of parts of the content."""
    own = text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))
    if own or not isinstance(said, list):
        return own
    parts = (part for part in said if isinstance(part, dict) and part.get("type") in _THINKING)
    return "".join(
        text_of(part.get("thinking")) or text_of(part.get("reasoning")) or text_of(part.get("text")) for part in parts
    )


def calls_tool(delta: Mapping[str, Any]) -> bool:
    """Whether a piece names a function, or gives arguments to one."""
    calls = delta.get("tool_calls")
    called = calls if isinstance(calls, list) else []
    functions = [call.get("function") for call in called if isinstance(call, dict)] + [delta.get("function_call")]
    return any(isinstance(each, dict) and bool(each.get("name") or each.get("arguments")) for each in functions)


def read_logprobs(found: Any, *, chat: bool) -> list[TokenLogprob]:
    """The log-probabilities of a choice: ``content`` of chat, or the parallel lists of plain completions."""
    if not isinstance(found, dict):
        return []
    if chat or "content" in found:
        rows = [each for each in _list(found.get("content")) if isinstance(each, dict)]
        return [TokenLogprob(text=text_of(each.get("token")), logprob=_float(each.get("logprob"))) for each in rows]
    tokens, values = _list(found.get("tokens")), _list(found.get("token_logprobs"))
    tops = _list(found.get("top_logprobs")) or [None] * len(tokens)
    if not len(tokens) == len(values) == len(tops):
        return []
    return [
        TokenLogprob(text=text_of(token), logprob=_float(value), best=_best(top))
        for token, value, top in zip(tokens, values, tops, strict=True)
    ]  # fmt: skip


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _best(top: object) -> float | None:
    if not isinstance(top, dict):
        return None
    values = [value for value in map(_float, top.values()) if value is not None]
    return max(values) if values else None


def _float(value: object) -> float | None:
    """A number; what is none or endless is missing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -_ENDLESS < value < _ENDLESS else None
