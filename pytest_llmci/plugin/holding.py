"""Reports of a parallel worker that travel with a later one, and the news that their tests have ended.

Each is a message to the controller, and that costs as much as a short cell. So the reports of short cells that passed wait for the
one of the last cell of their model, a quarter of a second at most; what the cells recorded stands in the worker's spool all the while.
Beside the spool stands whose cells may have waited, so that the controller of a worker that died takes no others for ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
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
ENDED: Final = "runtest_protocol_complete"
"""What pytest-xdist calls the news that a test has ended."""
NOTES: Final = ".waits"
"""Ends the name of the file beside a spool that says whose cells may have waited."""
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
        self._noted: set[str] = set()

    def keep(self, held: Held) -> bool:
        """Let a report wait, where it is not too late for that; whether it does."""
        first = self._waiting[0] if self._waiting else held
        if held.duration > SHORT_S or held.start + held.duration - first.start > LONGEST_S:
            return False
        self._waiting.append(held)
        return True

    def note(self, nodeid: str, spool: Path) -> bool:
        """Write down beside the spool, once, whose cells wait; False if that cannot be written."""
        suite = nodeid.partition("::")[0]
        if suite not in self._noted:
            try:
                with spool.with_suffix(NOTES).open("a", encoding="ascii") as stream:
                    stream.write(json.dumps(suite) + "\n")
            except OSError:
                return False
            self._noted.add(suite)
        return True

    def waits_last(self, nodeid: str) -> bool:
        """Whether that report waits, behind all others."""
        return bool(self._waiting) and self._waiting[-1].nodeid == nodeid

    def hand_to(self, report: pytest.TestReport) -> None:
        """Let what waits travel with a report."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            setattr(report, HELD_ATTRIBUTE, json.dumps(waiting))  # one text: objects are sent piece by piece

    def take_last(self, nodeid: str) -> pytest.TestReport | None:
        """The report that waits longest but for all others, with those: at the end of a session. None where the last test has another."""
        if not self.waits_last(nodeid):
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


def may_have_waited(spool: Path) -> frozenset[str]:
    """Suites of which reports of that worker may have waited; none where nothing is known.

    :param spool: the worker's.
    """
    try:
        return frozenset(json.loads(line) for line in spool.with_suffix(NOTES).read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return frozenset()


class Ends:
    """Between a parallel worker and pytest-xdist: lets the news of ended tests wait as their reports do.

    None waits longer than there are further tests in the worker's queue, as the controller sends more when it hears of the ends.

    :param interactor: pytest-xdist's side of the worker.
    :param waits: whether the report of a test, by its node id, waits.
    """

    def __init__(self, interactor: Any, waits: Callable[[str], bool]) -> None:
        self._interactor = interactor
        self._send = interactor.sendevent
        self._waits = waits
        self._ended: list[int] = []

    def sendevent(self, name: str, **told: Any) -> None:
        """What pytest-xdist calls in place of its own."""
        if name != ENDED:
            self._send(name, **told)
            return
        index = told["item_index"]
        self._ended.append(index)
        if not (self._waits(self._interactor.session.items[index].nodeid) and self._has_more()):
            self.tell(**told)

    def tell(self, **told: Any) -> None:
        """Tell the controller of all that ended."""
        if self._ended:
            ended, self._ended = self._ended, []
            self._send(ENDED, **{"duration": 0.0, **told, "item_index": ended if len(ended) > 1 else ended[0]})

    def go_on(self) -> pytest.Item | None:
        """Let the next test run within pytest-xdist's call for this one, as if it had asked for it.

        :returns: the test behind that; None, and nothing was done, where the controller has sent none.
        """
        worker = self._interactor
        with worker.torun.lock() as queue:
            if not queue or not isinstance(queue[0], int):
                return None
            behind = queue.popleft()
        self._ended.append(worker.item_index)
        worker.item_index, worker.nextitem_index = worker.nextitem_index, behind
        item: pytest.Item = worker.session.items[behind]
        return item

    def _has_more(self) -> bool:
        with self._interactor.torun.lock() as queue:
            return bool(queue)


def let_ends_wait(config: pytest.Config, waits: Callable[[str], bool]) -> Ends | None:
    """Take the place of what sends events, in a parallel worker; None where this pytest-xdist is not known to allow it."""
    for plugin in config.pluginmanager.get_plugins():
        if type(plugin).__name__ != "WorkerInteractor":
            continue
        if hasattr(getattr(plugin, "torun", None), "lock") and hasattr(plugin, "nextitem_index"):
            ends = Ends(plugin, waits)
            plugin.sendevent = ends.sendevent
            return ends
    return None
