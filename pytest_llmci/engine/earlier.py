"""What a session takes over from an earlier run, as the session sees it; :mod:`.resume` finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..records import Cell, RoundsRecord, WorkerRecord
from .schedule import CellPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierCell:
    """A cell that an earlier run measured and judged to its end."""

    run: str
    """Name of the run."""
    plan: CellPlan
    look: int
    """Which look at the growing sample it ended with."""
    measured: Sequence[RoundsRecord]
    memory: Sequence[RoundsRecord]
    samples: Sequence[RoundsRecord]
    worker: WorkerRecord
    """The start of the process that measured it."""
    worker_values: Mapping[str, float]
    starts: Mapping[str, WorkerRecord]
    """Identifier of a process in that run -> its start, as a record of this one."""


class Earlier(Protocol):
    """The run that is gone on with."""

    def holds(self, test: str, cell: Cell, plan: CellPlan) -> bool:
        """Whether a cell will be taken over, as far as can be told before its model is loaded."""

    def cell(self, test: str, cell: Cell, plan: CellPlan, start: Callable[[], WorkerRecord]) -> EarlierCell:
        """What there is of a cell.

        :param start: loads the model, so that it can be held against the earlier one.
        :raises NotReplayed: if there is nothing, or it is not the same: in one line.
        """
