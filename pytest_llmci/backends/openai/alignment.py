"""Where each token of an echoed text begins in it, by the tokens' own texts.

The offsets that servers tell are not it: vLLM adds up the lengths of the tokens as it decodes each alone, so that they are shifted behind
a token that stands for the beginning of the text, behind a character that takes several tokens, and behind a blank that a tokenizer drops.
A score over a shifted border would be another text's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

PART: Final = "\ufffd"
"""What a decoder makes of a token that is a part of a character."""


def places_of(tokens: Sequence[str], text: str) -> list[int | None] | None:
    r"""Character of the text at which each token begins: None for one that stands before it, its length for those that came behind it.

    No list where the tokens do not make up the text, or where that cannot be told.

    >>> places_of(["<s>", "The", " sky", "!"], "The sky"), places_of(["a", "b"], "ax")
    ([None, 0, 3, 7], None)
    >>> places_of(["\ufffd", "\ufffd", "\ufffd", "!"], "\U0001f99c!"), places_of(["\u2581the", "sky"], "the sky")
    ([0, 0, 0, 1], [0, 3])
    """
    first = _first(tokens, text)
    if first is None:
        return None
    places: list[int | None] = [None] * first
    at, parts = 0, 0
    for token in tokens[first:]:
        if at == len(text) and not parts:
            places.append(at)
        elif not token or PART in token:
            places.append(at)
            parts += max(1, len(token))
        else:
            found = _span(token, text, at, parts)
            if found is None and parts and at < len(text) <= at + parts:
                found = len(text), len(text)  # characters in parts were the last of the text
            if found is None:
                return None
            places.append(found[0])
            at, parts = found[1], 0
    return places if at == len(text) and not parts else None


def _first(tokens: Sequence[str], text: str) -> int | None:
    """How many tokens stand before the text, as one for its beginning does."""
    for number, token in enumerate(tokens[:2]):
        if not token or PART in token or _span(token, text, 0, 0) is not None:
            return number
    return None if tokens else 0


def _span(token: str, text: str, at: int, parts: int) -> tuple[int, int] | None:
    """Where a token begins and ends.

    :param parts: the most characters that tokens just before it make up together; they make up one at least.
    """
    for begins in range(at + 1, at + parts + 1) if parts else (at,):
        for shown in dict.fromkeys(
            (token, token.replace("\u2581", " "), token.replace("\u0120", " ").replace("\u010a", "\n"))
        ):
            if text.startswith(shown, begins):
                return begins, begins + len(shown)
            if text.startswith(f" {shown}", begins):
                return begins, begins + len(shown) + 1
            if begins == 0 and shown.startswith(" ") and text.startswith(shown[1:]):
                return 0, len(shown) - 1
    return None
