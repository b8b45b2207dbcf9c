"""What a comparison of a run folder with a copy of it gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """What came of it."""

    difference: str = ""
    """The first thing that differs, in one line; empty if there is none."""
    shown: tuple[str, ...] = ()
    """What is the same, a line each."""
    notes: tuple[str, ...] = ()
    """What was not looked at, and why, a line each."""


def of_the_run(text: str) -> str:
    """A difference from a derived file, told of one from the run's own."""
    return text.replace(" where the log gives ", " where the run has ")
