"""How large a model is, as far as a leaderboard and the model's name tell: between two numbers, and by which of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .cells import size_in_name
from .table import Entry, Leaderboard

TOLERANCE: Final = 0.15
"""Names round: Mistral-7B has 7.24 billions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Billions of parameters."""

    low_b: float
    high_b: float
    """Same as ``low_b`` where the number is exact; a limit is held against this one."""
    source: str
    """Where it is from, for people; empty for the file's own number."""

    def __str__(self) -> str:
        if self.low_b == self.high_b:
            return format_size(self.low_b)
        return f"{format_size(self.low_b).rstrip('BM')} to {format_size(self.high_b)}"


def format_size(billions: float) -> str:
    """
    >>> format_size(7), format_size(0.125), format_size(1.1)
    ('7B', '125M', '1.1B')
    """
    return f"{billions:.3g}B" if billions >= 0.9995 else f"{billions * 1000:.3g}M"


def size_of(entry: Entry, board: Leaderboard) -> Size | None:
    """What is known of a model's size; None if nothing is.

    A board that writes whole billions cuts the rest off. Where the file and the name contradict each other, both are taken for
    possible.
    """
    named = size_in_name(entry.model)
    told = entry.size_b
    if told is None:
        return Size(low_b=named, high_b=named, source="from its name") if named is not None else None
    low, high = told, told + 1 if board.whole_sizes else told
    if named is None:
        return Size(low_b=low, high_b=high, source="")
    if low <= named < high and not named.is_integer():
        return Size(low_b=named, high_b=named, source="from its name")
    if _contradict(low, high, named):
        return Size(
            low_b=min(low, named), high_b=max(high, named),
            source=f"the file says {format_size(told)} and its name {format_size(named)}",
        )  # fmt: skip
    return Size(low_b=low, high_b=high, source="")


def _contradict(low: float, high: float, named: float) -> bool:
    return named < low * (1 - TOLERANCE) or named > high * (1 + TOLERANCE)


def contradictions(entries: Iterable[Entry], board: Leaderboard) -> list[tuple[Entry, float]]:
    """Rows whose size is not the one in the model's name, with the latter in billions."""
    found = []
    for entry in entries:
        named, told = size_in_name(entry.model), entry.size_b
        if named is not None and told is not None and _contradict(told, told + 1 if board.whole_sizes else told, named):
            found.append((entry, named))
    return found


def common_factor(found: Iterable[tuple[Entry, float]]) -> float | None:
    """The factor by which the names exceed the file, where it is the same in most of the rows: then the file is in another unit."""
    ratios = sorted(named / entry.size_b for entry, named in found if entry.size_b)
    if len(ratios) < 5:
        return None
    middle = ratios[len(ratios) // 2]
    alike = sum(math.isclose(ratio, middle, rel_tol=0.02) for ratio in ratios)
    return middle if alike > len(ratios) / 2 else None
