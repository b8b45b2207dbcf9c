"""Reports of a parallel worker that travel with a later one.

A report is a message to the controller, and that costs as much as a short cell. So the reports of short cells that passed wait for the
one of the last cell of their model, a quarter of a second at most; what the cells recorded stands in the worker's spool all the while.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from .fixtures import MARKER
from .items import CellItem

HELD_ATTRIBUTE: Final = "llmci_held"
"""On a report: those that travel with it."""
OF_WORKER: Final = ("node", "worker_id", "testrun_uid")
"""What pytest-xdist says on a report of where it comes from."""
SHORT_S: Final = 0.05
"""A cell that took longer is told of at once."""
LONGEST_S: Final = 0.25
"""The first report that waits is told of after that time, when the cell ends that runs then."""


class Held(NamedTuple):
    """A report of a cell that passed and has nothing to tell."""

    nodeid: str
    start: float
    """Seconds since the epoch."""
    duration: float

    def report(self, **more: Any) -> pytest.TestReport:
        """As the worker would have made it."""
        suite, _, name = self.nodeid.partition("::")
        return pytest.TestReport(
            nodeid=self.nodeid, location=(suite, None, self.nodeid), keywords={name: 1, MARKER: 1}, outcome="passed", longrepr=None,
            when="call", duration=self.duration, start=self.start, stop=self.start + self.duration, **more,
        )  # fmt: skip


class Holding:
    """What waits in a parallel worker."""

    def __init__(self) -> None:
        self._waiting: list[Held] = []

    def keep(self, held: Held) -> bool:
        """Let a report wait, where it is not too late for that; whether it does."""
        first = self._waiting[0] if self._waiting else held
        if held.duration > SHORT_S or held.start + held.duration - first.start > LONGEST_S:
            return False
        self._waiting.append(held)
        return True

    def hand_to(self, report: pytest.TestReport) -> None:
        """Let what waits travel with a report."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            setattr(report, HELD_ATTRIBUTE, json.dumps(waiting))  # one text: objects are sent piece by piece

    def take_last(self, nodeid: str) -> pytest.TestReport | None:
        """The report that waits longest but for all others, with those: at the end of a session. None where the last test has another."""
        if not self._waiting or self._waiting[-1].nodeid != nodeid:
            return None
        report = self._waiting.pop().report()
        self.hand_to(report)
        return report


def may_wait(item: CellItem, following: pytest.Item | None) -> bool:
    """Whether a cell has nothing to tell but that it passed, and another one of its model follows."""
    if not isinstance(following, CellItem) or following.cell.model.alias != item.cell.model.alias:
        return False
    return not item.user_properties and item.name == item.nodeid.partition("::")[2]


def unpacked(report: pytest.TestReport) -> Iterator[pytest.TestReport]:
    """The reports that travelled with one, in their order; it lets go of them."""
    text = report.__dict__.pop(HELD_ATTRIBUTE, "")
    if text:
        of_worker = {name: report.__dict__[name] for name in OF_WORKER if name in report.__dict__}
        for nodeid, start, duration in json.loads(text):
            yield Held(nodeid, start, duration).report(**of_worker)
