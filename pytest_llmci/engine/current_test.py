"""What a session knows of the test that asks it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..records import Cell
from .schedule import CellMeasurement


@dataclass(slots=True)
class CurrentTest:
    """The test that is running, and what was recorded for it."""

    id: str
    attempt: int = 0
    calls: list[CellMeasurement] = field(default_factory=list)
    """Single inferences that the test's body asked for and that have ended."""
    asked: dict[str, Cell] = field(default_factory=dict)
    """The cells of all of them, by id."""
    answers: int = 0
    """How many there were."""

    def take_calls(self) -> list[CellMeasurement]:
        """What has ended since this was asked last."""
        taken, self.calls = self.calls, []  # at once: another thread may be adding one
        return taken
