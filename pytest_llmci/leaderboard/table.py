"""A leaderboard as records: one entry a row of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

Scale = Literal["per cent", "fraction"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One row: a model as the board evaluated it."""

    line: int
    """Of the file, where the row begins."""
    model: str
    """As the board names it, mostly ``organisation/name``."""
    average: float | None
    """Per cent; None where the row has none."""
    scores: dict[str, float]
    """Benchmark -> per cent; missing ones are left out."""
    size_b: float | None = None
    """Billions of parameters as the file has them; None where it does not know."""
    likes: float | None = None
    type: str = ""
    precision: str = ""
    """What it was evaluated in."""
    license: str = ""
    """Empty where the file does not say."""
    revision: str = ""
    """Commit that was evaluated."""
    weights: str = ""
    """``Original``, ``Adapter`` or ``Delta``; empty where the file does not say."""
    time: datetime | None = None
    """Of the evaluation."""
    on_hub: bool | None = None
    flagged: bool | None = None
    """True where the board doubts the result, as after training on the test data."""
    gated: bool | None = None
    """True where the weights are handed out after an agreement only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """A file of published scores, and what had to be assumed to read it."""

    path: Path
    entries: tuple[Entry, ...]
    """In the order of the file."""
    benchmarks: tuple[str, ...]
    """Titles of the single scores."""
    average: str
    """Title of the average."""
    size: str = ""
    """Title of the sizes; empty where the file has none, as with the next."""
    likes: str = ""
    has: frozenset[str] = frozenset()
    """Roles for which there is a column, such as ``license``."""
    scale: Scale = "per cent"
    """How the file writes scores; here they are per cent always."""
    whole_sizes: bool = False
    """True where all sizes are whole billions: 6 stands for anything up to 7."""
    not_read: tuple[str, ...] = ()
    """Titles of columns that are of no use here."""
    notes: tuple[str, ...] = field(default=())
    """What was assumed, and which cells could not be read; a line each."""
