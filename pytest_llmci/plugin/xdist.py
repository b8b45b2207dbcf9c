"""Parallel sessions: each model's tests go to one worker, and what workers record comes home."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

from ..errors import StoreError
from ..garbage import Settling
from ..records import VerdictRecord
from ..settings import Settings
from ..store.environment import machine_id
from ..store.spool import read_spool
from .coverage import COLLECTED_ATTRIBUTE, USES_ATTRIBUTE
from .holding import Held, may_have_waited
from .planning import MANY_ITEMS
from .protocol import wanted

if TYPE_CHECKING:
    from .armed import ArmedPlugin
    from .controller import Controller

BROKEN_MODES = ("loadgroup", "loadscope", "loadfile")
LAST_BROKEN_XDIST = (3, 8)
SAID: Final = "llmci_said"
"""The event of a worker that has something to say, among those of pytest-xdist."""
OURS = ("load", "worksteal")
"""Modes that spread the tests of one model over all workers; ours takes their place."""


def check_parallel_options(config: pytest.Config, settings: Settings) -> None:
    """Refuse modes that lose tests when a worker dies, and switch parallel work off where nothing will run.

    :raises pytest.UsageError: one line.
    """
    dist = getattr(config.option, "dist", "no")
    if settings.plan and dist != "no":
        config.option.dist, config.option.tx = "no", []
    elif dist in BROKEN_MODES and _xdist_version() <= LAST_BROKEN_XDIST:
        raise pytest.UsageError(
            f"--dist={dist}: pytest-xdist up to {'.'.join(map(str, LAST_BROKEN_XDIST))} hangs or loses tests in this mode"
            " when a worker dies;"
            " leave --dist out and pytest-llmci keeps each model on one worker."
        )


def _xdist_version() -> tuple[int, int]:
    from importlib.metadata import version

    found = re.match(r"(\d+)\.(\d+)", version("pytest-xdist"))
    return (int(found[1]), int(found[2])) if found else (0, 0)


class ParallelSession:
    """The controller's side of pytest-xdist."""

    def __init__(self, config: pytest.Config, plugin: ArmedPlugin) -> None:
        self._config = config
        self._plugin = plugin
        self._scheduler: Any = None
        """Ours, where it is that."""
        self._settling = Settling(every=MANY_ITEMS)
        """Of records and reports: no test of a user's runs in this process."""
        self._said: set[str] = set()
        """What workers had to say since the last report."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where the run folder is, and how to know that it is the same one."""
        controller = self._plugin.controller
        assert controller is not None
        folder = controller.run_folder
        node.workerinput["llmci"] = {
            "run": str(folder.resolve()) if folder else "",
            "token": controller.token,
            "machine": machine_id(),
            "resume": str(self._plugin.earlier.folder.resolve()) if self._plugin.earlier is not None else "",
            "wanted": [*wanted(self._config)],
            "holds": self._config.getoption("dist") in OURS,
            "room": self._plugin.room,
            "registered": {text: str(path) for text, path in self._plugin.registered.items()},
            "say": self._ear(node),
        }

    def _ear(self, node: Any) -> Any:
        """A channel whose other end the worker speaks into; its words stand in line with what pytest-xdist is told."""
        setattr(self._config.pluginmanager.getplugin("dsession"), f"worker_{SAID}", self._say)
        channel = node.gateway.newchannel()
        channel.setcallback(lambda text: node.putevent((SAID, {"text": text})))
        return channel

    def _say(self, text: str) -> None:
        """Once for all workers that say the same while no test ends."""
        if text not in self._said:
            self._said.add(text)
            self._plugin.terminal.say(text)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """What a worker collected and used, where no report brought it because it had no test to run, or none any more.

        Of one that died also the reports that waited for a later one.
        """
        controller = self._plugin.controller
        assert controller is not None
        if error is not None and self._scheduler is not None:
            waited = self._waited_in(node, controller)
            self._scheduler.note_ended(node, waited)
            for nodeid in waited:
                report = Held(nodeid, time.time(), 0.0).report(node=node)  # when it ran, nobody knows any more
                self._config.hook.pytest_runtest_logreport(report=report)
        told = getattr(node, "workeroutput", None) or {}
        controller.take_collected(told.get(COLLECTED_ATTRIBUTE, ""))
        controller.seen.note_uses(told.get(USES_ATTRIBUTE, (0, 0)))

    def _waited_in(self, node: Any, controller: Controller) -> list[str]:
        """Tests of a worker that died whose reports were still to come: they ended, as its spool says that they passed."""
        if not controller.awaited or controller.run_folder is None:
            return []
        passed: dict[str, None] = {}
        for path in sorted((controller.run_folder / "spool").glob(f"{node.gateway.id}-*.jsonl")):
            suites = may_have_waited(path)
            if not suites:
                continue
            with suppress(StoreError, OSError):  # the tests that it held are told of as missing
                for record in read_spool(path):
                    if not isinstance(record, VerdictRecord) or record.verdict != "pass":
                        continue
                    if record.test.partition("::")[0] in suites:
                        passed[record.test] = None
        return [nodeid for nodeid in passed if nodeid in controller.awaited]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """All workers collect the same; the one that takes a lost worker's place does so again, when some tests have run."""
        if self._plugin.controller is not None and self._plugin.controller.awaited is None:
            self._plugin.controller.awaited = set(ids)
        if len(ids) >= MANY_ITEMS:
            self._settling.begin()

    def pytest_runtest_logreport(self) -> None:
        """Thousands of them come, and what came with them stays."""
        self._settling.note()
        self._said.clear()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """The garbage collector works as before."""
        self._settling.end()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """One work unit a model."""
        if config.getoption("dist") not in OURS:
            return None
        self._scheduler = make_scheduler(config, log, [spec.alias for spec in self._plugin.planner.specs])
        return self._scheduler


def model_scope(nodeid: str, aliases: Container[str]) -> str:
    """The work unit of a test: its model where the id shows one, else the test itself.

    The model comes first, so a name that turns up further on is that of a prompt or parameter; it counts only where no model
    comes first, as in a test that was parametrized by hand. A model that only a marker names is not known here; the tests of
    such a function stay together.
    """
    path, _, rest = nodeid.partition("::")
    name, bracket, parameters = rest.partition("[")
    shown = f"-{parameters.removesuffix(']') if bracket else name}-"
    dashes = [place for place, letter in enumerate(shown) if letter == "-"]
    for begin in dashes:  # not one alias after the other: there may be thousands, and this is asked for every test
        for end in reversed(dashes):
            if end > begin and (alias := shown[begin + 1 : end]) in aliases:
                return f"model {alias}"
    return f"{path}::{name}" if bracket else nodeid


def make_scheduler(  # noqa: C901  # one class, whose methods are simple
    config: pytest.Config,
    log: Any,
    aliases: Iterable[str],
) -> Any:
    """A scheduler that keeps each model on one worker and survives the death of any.

    Built on pytest-xdist's own for scopes, with repairs for its version 3.8: a crashed test is not run again, and finished
    work is not queued again; either would kill or hang the session. Nor is the way of thousands of tests looked for in lists of
    all of them again and again.
    """
    from xdist.scheduler import LoadScopeScheduling

    known = frozenset(aliases)
    scopes: dict[str, str] = {}  # asked for again when a test has ended
    places: dict[str, int] = {}  # of each test in the collection, which is the same for every worker

    class ModelScheduling(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]  # xdist is optional
        def _split_scope(self, nodeid: str) -> str:
            scope = scopes.get(nodeid)
            if scope is None:
                scope = scopes[nodeid] = model_scope(nodeid, known)
            return scope

        def remove_node(self, node: Any) -> str | None:
            """Give back what the worker had not run; the test that it died in is reported and not tried again."""
            units = self.assigned_work.pop(node)
            open_units: OrderedDict[str, dict[str, bool]] = OrderedDict()
            for scope, unit in units.items():
                left = {nodeid: done for nodeid, done in unit.items() if not done}
                if left:
                    open_units[scope] = left
            if not open_units:
                return None
            first = next(iter(open_units))
            crashed = next(iter(open_units[first]))
            del open_units[first][crashed]
            for scope, unit in reversed(open_units.items()):
                if unit:
                    self.workqueue[scope] = unit
                    self.workqueue.move_to_end(scope, last=False)
            for other in list(self.assigned_work):
                self._reschedule(other)
            return crashed

        def mark_test_complete(self, node: Any, item_index: int | Sequence[int], duration: float = 0) -> None:
            """Forget a unit that is done, so that what a worker has before it is counted by what it has.

            :param item_index: several where :class:`.holding.Ends` let the news wait.
            """
            collection = self.registered_collections[node]
            ended = (item_index,) if isinstance(item_index, int) else item_index
            self.note_ended(node, [collection[place] for place in ended])
            self._reschedule(node)

        def note_ended(self, node: Any, nodeids: Iterable[str]) -> None:
            """Tests of a worker that have ended."""
            units = self.assigned_work.get(node, {})
            for nodeid in nodeids:
                scope = self._split_scope(nodeid)
                unit = units.get(scope)
                if unit is not None:
                    unit[nodeid] = True
                    if all(unit.values()):
                        del units[scope]

        def _assign_work_unit(self, node: Any) -> None:
            """Hand out the next unit; to a worker that has just died nothing can be sent, so the unit waits for another."""
            if not places:
                places.update((nodeid, place) for place, nodeid in enumerate(self.collection))
            scope, unit = next(iter(self.workqueue.items()))
            try:
                node.send_runtest_some([places[nodeid] for nodeid, done in unit.items() if not done])
            except OSError:
                return
            del self.workqueue[scope]
            self.assigned_work.setdefault(node, {})[scope] = unit

        def _reschedule(self, node: Any) -> None:
            if node.shutting_down:
                return
            # A worker keeps its last test back until it knows the next one, or that none will come.
            while self.workqueue and self._pending_of(self.assigned_work[node]) < 2:
                left = len(self.workqueue)
                self._assign_work_unit(node)
                if len(self.workqueue) == left:
                    return
            if not self.workqueue:
                node.shutdown()

    return ModelScheduling(config, log)
