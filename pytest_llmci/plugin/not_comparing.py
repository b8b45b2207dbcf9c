"""What a session is compared with where nobody asked for a comparison: nothing, and nothing is imported for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.benchmark import TaskMeasurement
    from ..engine.comparisons.against import Against
    from ..engine.comparisons.against_baseline import BaselineRules


class NotComparing:
    """The usual session; :class:`.comparing.Comparing` is the other kind."""

    against: Against | None = None
    """What the engine measures beside the candidate; None where nothing is."""
    baselines: BaselineRules | None = None
    """Baselines whose stored numbers it compares with; None where there are none."""

    @property
    def asked_for(self) -> str:
        """What the user named; empty if nothing is to be compared."""
        return ""

    def resolve(self, import_path: tuple[str, ...]) -> None:
        """Work out what the selected cells are compared with.

        :raises ConfigError: if it cannot be read, or would compare nothing.
        """

    def compare_task(self, measurement: TaskMeasurement) -> None:
        """Compare the answers to a benchmark task with those of each baseline."""

    def notes(self) -> Iterable[str]:
        """What to tell before anything is measured."""
        return ()

    def close(self) -> None:
        """Remove the files of the commit; safe to call twice."""
