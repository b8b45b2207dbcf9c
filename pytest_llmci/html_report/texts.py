"""Texts of models and prompts for the page: harmless, whole as far as there is room, and honest about what is left out."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from ..text import plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A text as the page shows it."""

    text: str
    left_out: int = 0
    """Characters beyond the room."""
    hidden: int = 0
    """Control characters and sequences, which nobody could see, and direction overrides, which would move what others see."""


def shown(text: str, room: int) -> Shown:
    r"""As much of a text as fits.

    :param room: bytes of HTML.

    >>> shown("a<b", 4), shown("a\x1b[31mb", 10).hidden
    (Shown(text='a', left_out=2, hidden=0), 5)
    """
    clean = plain(text)
    hidden = len(text) - len(clean)
    if len(clean) * 6 <= room or len(html_of(clean)) <= room:
        return Shown(text=clean, hidden=hidden)
    low, high = 0, min(len(clean), room)
    while low < high:  # the longest that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(html_of(clean[:middle])) <= room else (low, middle - 1)
    return Shown(text=clean[:low], left_out=len(clean) - low, hidden=hidden)


def html_of(text: str) -> bytes:
    """The text as a page holds it, or a little longer."""
    return escape(text).encode("utf-8")
