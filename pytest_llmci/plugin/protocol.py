"""The short way through pytest for the cells of a suite.

A cell has no fixtures and runs no code of the user's, so pytest's three phases with all their hooks do nothing for it but cost
several times what recording it costs. Where nobody listens to those hooks, a cell is run and reported directly; where nobody
else wraps whole tests either, the cells of a model that follow it run within the same call of ``pytest_runtest_protocol``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from .fixtures import MARKER
from .holding import Held
from .items import CellItem

if TYPE_CHECKING:
    from pluggy import HookImpl

    from .running import Running

XDIST = ("xdist.", "__channelexec__")
"""pytest-xdist's own modules; the latter is how the one that runs in a parallel worker is called there."""
WANT_NO_TEARDOWN = (
    *("_pytest.main", "_pytest.terminal", "_pytest.logging", "_pytest.cacheprovider", "_pytest.stepwise"),
    *("pytest_llmci.", *XDIST),
)
"""Modules that listen to reports and learn nothing from that of a teardown which did nothing."""
WANT_NO_BOUNDS = ("_pytest.", "pytest_llmci.", *XDIST)
"""Modules that learn nothing of a parallel worker's tests from when they begin and end, where the terminal is not verbose."""
PHASE_HOOKS = ("pytest_runtest_setup", "pytest_runtest_call", "pytest_runtest_teardown", "pytest_runtest_makereport")
_NOBODY = ("_pytest.", "pytest_llmci.", *XDIST)
_NOBODY_ELSE = ("_pytest.", "pytest_llmci.")


def may_be_short(config: pytest.Config) -> bool:
    """Whether no plugin or ``conftest.py`` listens to the phases of a test, and nobody wants to stop in one."""
    option = config.option
    if (
        option.usepdb
        or option.setupshow
        or option.setuponly
        or getattr(option, "reruns", 0)
        or getattr(option, "trace", False)
    ):
        return False
    for name in PHASE_HOOKS:
        for implementation in getattr(config.hook, name).get_hookimpls():
            if not implementation.function.__module__.startswith(_NOBODY):
                return False
    return True


def may_share(config: pytest.Config) -> bool:
    """Whether cells may run within the call for another one: nobody else wraps tests, loops over them, or times each."""
    hook = config.hook
    for implementation in (*hook.pytest_runtest_protocol.get_hookimpls(), *hook.pytest_runtestloop.get_hookimpls()):
        if not implementation.function.__module__.startswith(_NOBODY_ELSE):
            return False
    return not (config.pluginmanager.hasplugin("faulthandler") and float(config.getini("faulthandler_timeout") or 0))


def has_other_marks(item: pytest.Item) -> bool:
    """Whether it has marks besides ours: skip, xfail, flaky, ..."""
    node: Any = item
    while node is not None:
        for mark in node.own_markers:
            if mark.name != MARKER:
                return True
        node = node.parent
    return False


def run_along(plugin: Running, items: Sequence[CellItem], wanted: Wanted) -> int:
    """Run cells within the call for the first of them, until there are no more or something asks for a new call.

    :returns: how many were run.
    """
    shown = items[0].config.pluginmanager.hasplugin("warnings")
    catching: AbstractContextManager[list[warnings.WarningMessage] | None] = (
        warnings.catch_warnings(record=True) if shown else nullcontext()
    )
    with catching as heard:
        for done, item in enumerate(items, 1):
            try:
                run_short(plugin, item, wanted)
            finally:
                for warning in heard or ():
                    told = {"warning_message": warning, "nodeid": item.nodeid, "when": "runtest", "location": None}
                    item.ihook.pytest_warning_recorded.call_historic(kwargs=told)
            if heard or item.session.shouldfail or item.session.shouldstop:
                return done  # in a new call, the next test is told of the same warning again
    return len(items)


class Wanted(NamedTuple):
    """What is told of a cell besides its result, as somebody may listen."""

    bounds: bool
    """Its start and its end."""
    teardown: bool
    """The report of its teardown, in which nothing happens; ``--junitxml`` counts on the last one of a test."""


def wanted(config: pytest.Config) -> Wanted:
    """What the plugins of this process want to be told."""
    hook = config.hook
    bounds = (*hook.pytest_runtest_logstart.get_hookimpls(), *hook.pytest_runtest_logfinish.get_hookimpls())
    return Wanted(
        bounds=config.get_verbosity(pytest.Config.VERBOSITY_TEST_CASES) > 0 or not _are_only(WANT_NO_BOUNDS, bounds),
        teardown=not _are_only(WANT_NO_TEARDOWN, hook.pytest_runtest_logreport.get_hookimpls()),
    )


def wanted_in_worker(config: pytest.Config, on_controller: Sequence[bool]) -> Wanted:
    """The same in a parallel worker, where every report is a message to the controller.

    :param on_controller: what its plugins want.
    """
    bounds, teardown = on_controller
    here = wanted(config)
    return Wanted(bounds=bounds or here.bounds, teardown=teardown or here.teardown)


def _are_only(modules: tuple[str, ...], listeners: Iterable[HookImpl]) -> bool:
    return all(listener.function.__module__.startswith(modules) for listener in listeners)


def run_short(
    plugin: Running, item: CellItem, wanted: Wanted, *, is_last: bool = False, following: pytest.Item | None = None
) -> None:
    """Run one cell and send its reports.

    :param is_last: whether this process has no further test; with the end of that one the terminal ends its line.
    :param following: the next test, in a parallel worker whose reports may wait for each other.
    """
    hook, nodeid, location = item.config.hook, item.nodeid, item.location
    if wanted.bounds:
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
    plugin.begin_test(item)
    outcome: Any = "passed"
    longrepr: Any = None
    start, begin = time.time(), time.perf_counter()
    try:
        plugin.run_cell(item, item.cell)
    except pytest.skip.Exception as skipped:
        outcome, longrepr = "skipped", (str(item.location[0]), 0, f"Skipped: {skipped.msg}")
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # whatever it is, it is this test's failure
        outcome, longrepr = "failed", item.repr_failure(pytest.ExceptionInfo.from_exception(error))
    took = time.perf_counter() - begin
    if following is not None and plugin.lets_wait(item, following, Held(nodeid, start, took), outcome):
        return
    report = pytest.TestReport(
        nodeid=nodeid, location=location, keywords={item.name: 1, "llmci": 1}, outcome=outcome, longrepr=longrepr, when="call",
        duration=took, start=start, stop=start + took, user_properties=item.user_properties,
    )  # fmt: skip
    plugin.finish_report(item, report)
    hook.pytest_runtest_logreport(report=report)
    if wanted.teardown:
        report = pytest.TestReport(
            nodeid=nodeid, location=location, keywords={}, outcome="passed", longrepr=None, when="teardown",
            duration=0.0, start=start + took, stop=start + took, user_properties=item.user_properties,
        )  # fmt: skip
        hook.pytest_runtest_logreport(report=report)
    if wanted.bounds or is_last:
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)
