"""A table of the page, and a number in one that can be sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A number in a table that can be sorted."""

    text: str
    value: float | None = None
    why: str = ""
    """Why it is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of texts, and how many more there are."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    more: int = 0
    anchors: Sequence[str] = ()
    """Of each row, where on the page there is more."""
    values: Sequence[Sequence[float | None]] = ()
    """Of each row what its texts are sorted by, where not by themselves; the first column is not among them."""
