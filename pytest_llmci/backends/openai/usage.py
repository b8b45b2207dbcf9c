"""What a server says that it counted, and whether that can be."""

from __future__ import annotations

from collections.abc import Mapping

from .answer import Usage
from .failures import quote


def read_usage(found: object, *, pieces: int, has_text: bool, max_tokens: int | None) -> Usage:
    """The server's counts; none of them where they contradict each other or what came.

    :param pieces: that arrived one by one; a token gives one at most.
    :param has_text: whether there is any text.
    """
    if found is None:
        return Usage()
    if not isinstance(found, dict):
        return Usage(why_not=f"the server's usage is no object: {quote(repr(found))}")
    counts = Usage(
        prompt_tokens=_count(found.get("prompt_tokens")),
        output_tokens=_count(found.get("completion_tokens")),
        cached_tokens=_count(_inner(found, "prompt_tokens_details", "cached_tokens")),
        reasoning_tokens=_count(_inner(found, "completion_tokens_details", "reasoning_tokens")),
        source="server",
        why_not="the server's usage does not say",
    )
    wrong = _contradiction(found, counts, _count(found.get("total_tokens")))
    output = counts.output_tokens
    if not wrong and output is not None:
        if output == 0 and has_text:
            wrong = "it counts no token, but text came"
        elif output < pieces:
            wrong = f"it counts {output} tokens, but {pieces} pieces of text came"
        elif max_tokens is not None and output > max_tokens:
            wrong = f"it counts {output} tokens, but {max_tokens} at most were asked for"
    return Usage(why_not=f"the server's usage cannot be right: {wrong}") if wrong else counts


def _contradiction(found: Mapping[str, object], counts: Usage, total: int | None) -> str:
    """What the counts say against each other; empty if nothing."""
    prompt, output, cached, reasoning = (
        counts.prompt_tokens, counts.output_tokens, counts.cached_tokens, counts.reasoning_tokens,
    )  # fmt: skip
    for name, count in (("prompt_tokens", prompt), ("completion_tokens", output), ("total_tokens", total)):
        if found.get(name) is not None and count is None:
            return f"{name} is {quote(repr(found[name]))}"
    if prompt is not None and output is not None and total is not None and total != prompt + output:
        return f"{prompt} and {output} tokens do not make {total}"
    if cached is not None and prompt is not None and cached > prompt:
        return f"{cached} of {prompt} tokens came from the cache"
    if reasoning is not None and output is not None and reasoning > output:
        return f"{reasoning} of {output} tokens are reasoning"
    return ""


def _inner(found: Mapping[str, object], outer: str, name: str) -> object:
    details = found.get(outer)
    return details.get(name) if isinstance(details, dict) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
