"""The short ways through pytest, for the cells of a suite and for test functions that have no fixtures but those of a cell.

A cell has no fixtures and runs no code of the user's, so pytest's three phases with all their hooks do nothing for it but cost
several times what recording it costs. Where nobody listens to those hooks, a cell is run and reported directly; where nobody
else wraps whole tests either, the cells of a model that follow it run within the same call of ``pytest_runtest_protocol``.

A test function has a body of the user's, whose phase is kept with all its hooks. What is measured for it is measured within that
phase, and there is nothing to be torn down: so the two other phases with their reports, of which nobody learns anything, are left out.
Those of a module run within one call of ``pytest_runtest_protocol`` as cells do, up to one that warns, or changes how its process warns.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest
from _pytest.logging import caplog_handler_key, caplog_records_key
from _pytest.runner import check_interactive_exception

from .collecting import OUR_MODULE
from .holding import Held
from .items import CellItem
from .marks import has_other_marks
from .options import any_set

if TYPE_CHECKING:
    from pluggy import HookImpl, HookRelay

    from .giving import Giving
    from .running import Running

T = TypeVar("T", bound=pytest.Item)
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
FIXTURE_HOOKS = ("pytest_fixture_setup", "pytest_fixture_post_finalizer")
OF_A_CELL = frozenset({"llm", "llm_prompt", "llm_result"})
"""Fixtures that say nothing, and leave nothing behind."""
_BUILT_IN = frozenset({"pytestconfig"})
"""Not ``request``, which may be given something to be done when the test is torn down."""
_ENDS_SESSION = (pytest.exit.Exception, KeyboardInterrupt)
_NOBODY = ("_pytest.", "pytest_llmci.", *XDIST)
_NOBODY_ELSE = ("_pytest.", "pytest_llmci.")


def may_be_short(config: pytest.Config) -> bool:
    """Whether no plugin or ``conftest.py`` listens to the phases of a test, and nobody wants to stop in one."""
    if any_set(config, "usepdb", "setupshow", "setuponly", "reruns", "trace"):
        return False
    return _nobody_hears(config, PHASE_HOOKS)


def _nobody_hears(config: pytest.Config, hooks: Iterable[str]) -> bool:
    """Whether no plugin but pytest's own and ours listens to them, and no ``conftest.py``."""
    return all(_are_only(_NOBODY, getattr(config.hook, name).get_hookimpls()) for name in hooks)


def may_share_body(config: pytest.Config) -> bool:
    """Whether users' own tests may, too: nobody is told which test an assertion that passed stands in."""
    return not config.hook.pytest_assertion_pass.get_hookimpls()


def may_share(config: pytest.Config, *, loops: tuple[str, ...] = ()) -> bool:
    """Whether cells may run within the call for another one: nobody else wraps tests, loops over them, or times each.

    :param loops: modules that may, as they can be told.
    """
    hook = config.hook
    for implementation in (*hook.pytest_runtest_protocol.get_hookimpls(), *hook.pytest_runtestloop.get_hookimpls()):
        if not implementation.function.__module__.startswith((*_NOBODY_ELSE, *loops)):
            return False
    return not (config.pluginmanager.hasplugin("faulthandler") and float(config.getini("faulthandler_timeout") or 0))


def run_along(
    run: Callable[[T, pytest.Item | None], None], tests: Iterable[tuple[T, pytest.Item | None]], config: pytest.Config
) -> None:
    """Run tests within the call for the first of them, until there are no more or something asks for a new call.

    :param run: runs one, given the test behind it.
    :param tests: each with the one behind it; no more is taken than is run.
    """
    shown = config.pluginmanager.hasplugin("warnings")
    catching: AbstractContextManager[list[warnings.WarningMessage] | None] = (
        warnings.catch_warnings(record=True) if shown else nullcontext()
    )
    with catching as heard:
        as_set = _ways_to_warn()
        for item, following in tests:
            try:
                run(item, following)
            finally:
                for warning in heard or ():
                    told = {"warning_message": warning, "nodeid": item.nodeid, "when": "runtest", "location": None}
                    item.ihook.pytest_warning_recorded.call_historic(kwargs=told)
            if heard or item.session.shouldfail or item.session.shouldstop or _ways_to_warn() != as_set:
                return  # in a new call, the next test is told of the same warning again, and warned as it was set


def _ways_to_warn() -> tuple[object, list[object]]:
    """What a test may change for those behind it, unless pytest's call for it ends."""
    return warnings.showwarning, [*warnings.filters]


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
    told_id = getattr(item, "id", nodeid)  # taken apart, by a pytest that would else do so for each report
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
        nodeid=told_id, location=location, keywords={item.name: 1, "llmci": 1}, outcome=outcome, longrepr=longrepr, when="call",
        duration=took, start=start, stop=start + took, user_properties=item.user_properties,
    )  # fmt: skip
    plugin.finish_report(item, report)
    hook.pytest_runtest_logreport(report=report)
    if wanted.teardown:
        report = pytest.TestReport(
            nodeid=told_id, location=location, keywords={}, outcome="passed", longrepr=None, when="teardown",
            duration=0.0, start=start + took, stop=start + took, user_properties=item.user_properties,
        )  # fmt: skip
        hook.pytest_runtest_logreport(report=report)
    if wanted.bounds or is_last:
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)


def asks_for_cell_alone(item: pytest.Function) -> bool:
    """Whether nothing is set up or torn down around a test function but our fixtures of its cell."""
    asked = OF_A_CELL.intersection(item.fixturenames)
    if not asked or item.cls is not None or not (OF_A_CELL | _BUILT_IN).issuperset(item.fixturenames):
        return False
    definitions = item._fixtureinfo.name2fixturedefs  # noqa: SLF001  # pytest tells it nowhere else
    return all({each.func.__module__ for each in definitions.get(name, ())} == {OUR_MODULE} for name in asked)


class _Place(NamedTuple):
    """Where a test function stands; pytest works it out for each of its tests."""

    module: pytest.Module | None
    """None where a test's location says more than its name."""
    path: str
    line: int | None

    @classmethod
    def of(cls, item: pytest.Function) -> _Place:
        """As one of its tests has it."""
        path, line, name = item.location
        in_module = type(item.parent) is pytest.Module and name == item.name
        return cls(item.parent if in_module else None, path, line)  # type: ignore[arg-type]  # then it is one

    def tell(self, item: pytest.Function) -> None:
        """Say to another one of its tests what would come of working it out."""
        if item.parent is self.module:
            item.__dict__.setdefault("location", (self.path, self.line, item.name))


def _fail_with(error: BaseException) -> None:
    raise error


class FunctionsShort:
    """Runs such test functions: set-up and body in one phase, with one report."""

    def __init__(self, plugin: Running, giving: Giving) -> None:
        self._running = plugin
        self._giving = giving
        self._gives: bool | None = None
        """Whether nobody hears of each fixture, so that pytest need not set them up one by one; None before the first test."""
        self._known: dict[object, _Place | None] = {}
        """Function -> where it stands, and None where it may not go the short way; thousands of tests share one."""
        self._sets_up: pytest.Function | None = None
        """The test whose phase begins with its set-up."""
        self._hooked: object = None
        self._hook: HookRelay | None = None
        """That of the tests of this parent."""

    def takes(self, item: pytest.Function) -> bool:
        """Whether a test function may go the short way."""
        function = item.function
        if function not in self._known:
            self._known[function] = _Place.of(item) if asks_for_cell_alone(item) else None
        place = self._known[function]
        if place is None:
            return False
        place.tell(item)
        return True

    def run(self, item: pytest.Function, following: pytest.Item, wanted: Wanted) -> None:
        """Run a test and send its report.

        :param following: the next test.
        """
        hook, nodeid, location = self._hook_of(item), item.nodeid, item.location
        if wanted.bounds:
            hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        if item._request is False:  # type: ignore[comparison-overlap]  # noqa: SLF001  # as pytest's own loop does: it is run once more
            item._initrequest()  # noqa: SLF001
        try:
            self._run_phases(item, hook, following)
        finally:
            item._request = False  # type: ignore[assignment]  # noqa: SLF001  # as pytest's own loop does
            item.funcargs = None  # type: ignore[assignment]
        if wanted.bounds:
            hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def _hook_of(self, item: pytest.Function) -> HookRelay:
        """That of all tests of its module, which pytest looks for each time that it is asked."""
        if item.parent is not self._hooked or self._hook is None:
            self._hooked, self._hook = item.parent, item.ihook
        return self._hook

    def _run_phases(self, item: pytest.Function, hook: HookRelay, following: pytest.Item) -> None:
        stash = item.stash
        self._running.begin_test(item)
        stash[caplog_records_key] = {}
        self._sets_up = item
        try:
            call = pytest.CallInfo.from_call(
                lambda: hook.pytest_runtest_call(item=item), when="call", reraise=_ENDS_SESSION
            )
        finally:
            failed_in_setup, self._sets_up = self._sets_up is item, None
            del stash[caplog_records_key]
            if caplog_handler_key in stash:
                del stash[caplog_handler_key]
        if failed_in_setup:
            call.when = "setup"
        self._report(item, hook, call)
        stops = item.session.shouldfail or item.session.shouldstop
        try:
            item.session._setupstate.teardown_exact(None if stops else following)  # noqa: SLF001  # pytest's own loop does
        except _ENDS_SESSION:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is this test's error
            self._report(item, hook, pytest.CallInfo.from_call(partial(_fail_with, error), when="teardown"))

    def _report(self, item: pytest.Function, hook: HookRelay, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is None and not has_other_marks(item):  # pytest's own hooks have nothing to say of such a pass
            report = pytest.TestReport.from_item_and_call(item, call)
            self._running.finish_report(item, report)
            hook.pytest_runtest_logreport(report=report)
            return
        report = hook.pytest_runtest_makereport(item=item, call=call)
        if call.when == "setup":
            report.sections = [(title.removesuffix(" call") + " setup", text) for title, text in report.sections]
        hook.pytest_runtest_logreport(report=report)
        if check_interactive_exception(call, report):
            hook.pytest_exception_interact(node=item, call=call, report=report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Within the wrappers that catch what is printed and logged, and before the body."""
        function = self._sets_up
        if function is None or function is not item:
            return
        if self._gives is None:
            self._gives = _nobody_hears(item.config, FIXTURE_HOOKS)
        if self._gives:
            self._giving.leave_out(function)
        item.session._setupstate.setup(item)  # noqa: SLF001  # pytest's own hook does
        if self._gives:
            self._giving.give(function)
        self._sets_up = None
