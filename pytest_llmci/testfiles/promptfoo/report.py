"""What a translation could not take along, or not exactly: each with its place and the reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..nodes import Place


class NotTranslated(Exception):
    """Something has no counterpart; the message is the reason."""


@dataclass(slots=True)
class Report:
    """The reasons, each once, in the order in which they were found."""

    left: dict[str, Place] = field(default_factory=dict)
    """What is not in the test files."""
    differs: dict[str, Place] = field(default_factory=dict)
    """What is in them and does not mean quite the same."""

    def leave(self, place: Place, reason: str) -> None:
        """Note what was left out."""
        self.left.setdefault(f"{place}: {reason}", place)

    def note(self, place: Place, reason: str) -> None:
        """Note a difference."""
        self.differs.setdefault(f"{place}: {reason}", place)


def in_order(found: dict[str, Place], first: str) -> Iterable[str]:
    """By file, the configuration before those that it names, and line."""
    return [
        text
        for text, _ in sorted(found.items(), key=lambda it: (it[1].file != first, it[1].file, it[1].line, it[1].column))
    ]
