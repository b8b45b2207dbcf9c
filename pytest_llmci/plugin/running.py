"""One test after the other: what its fixtures and its body ask for is measured, judged and reported."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import pytest

from ..engine.current_test import CurrentTest
from ..engine.handles import LLM, CallDefaults
from ..engine.marker_values import MarkerValues
from ..engine.reports.explain import Explained, explain, with_commands_unwrapped
from ..engine.results import CellResult
from ..engine.schedule import CellMeasurement, CellPlan
from ..errors import ConfigError, NotReplayed
from ..garbage import RARELY
from ..prompts.asked import prompt_of
from ..records import Cell, ModelSpec, Prompt
from . import junit
from .collecting import model_of
from .coverage import VERDICT_ATTRIBUTE
from .failures import explain_in_report, hide_in_report
from .giving import Giving
from .holding import Ends, Held, Holding, let_ends_wait, may_wait
from .items import CellItem, TaskItem
from .marks import has_other_marks
from .options import any_set
from .planning import MANY_ITEMS, is_ours, keeps_nothing
from .protocol import (
    XDIST,
    FunctionsShort,
    Wanted,
    may_be_short,
    may_share,
    may_share_body,
    run_along,
    run_short,
    wanted,
    wanted_in_worker,
)
from .repeat import repeat_command
from .replaying import cannot

if TYPE_CHECKING:
    from ..engine.task_cell import TaskCell
    from .armed import ArmedPlugin

T = TypeVar("T", bound=pytest.Item)
_OUTCOMES = (Exception, pytest.fail.Exception, pytest.skip.Exception)
"""What ends a phase of a test and not the session: the last two are no ``Exception``."""


class Running:
    """The hooks around a test, and what our fixtures hand out in it."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._plugin = plugin
        self._current: pytest.Item | None = None
        """The test that runs, or ran last; what follows is of this attempt at it."""
        self._measurement: CellMeasurement | None = None
        """What waits to be judged."""
        self._beside = ""
        """What the model failed with, where the test itself failed as well."""
        self._verdict = ""
        self._short: bool | None = None
        self._wanted = Wanted(bounds=True, teardown=True)
        self._has_fixtures = self._may_drop_things = True
        self.giving = Giving(plugin, self)
        self.functions = FunctionsShort(self, self.giving)
        self._holding = Holding()
        self._ends: Ends | None = None
        self._may_wait = False
        """Whether reports may wait for each other."""
        self._goes_on = False
        """Whether a parallel worker's cells may run within the call for the one before."""
        self._line: Sequence[pytest.Item] = ()
        """All tests, where this is what loops over them."""
        self._behind = 0
        """Where in that line the test stands that comes next."""
        self._bodies_go_on = False
        """Whether test functions may run within the call for the one before."""
        self._tells_phases = True
        """Whether each phase of a test function is asked for."""
        self._thresholds: tuple[int, int, int] | None = None
        """The collector's own, while it works rarely."""
        self._unsettled = 0
        """Tests since :meth:`settle` set aside what is kept."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """The cells of a model, and the test functions of a module, in one call of the hook around a test, where nobody counts them."""
        self.prepare(session)
        config = session.config
        errors = session.testsfailed and not config.option.continue_on_collection_errors
        if errors or config.option.collectonly or not may_share(config):
            return None
        self._run_all(session)
        return True

    def _run_all(self, session: pytest.Session) -> None:
        """What pytest's own loop does, but for the tests that were run along with another one."""
        self._line, self._behind = session.items, 0
        self._bodies_go_on = may_share_body(session.config)
        while self._behind < len(self._line):
            item = self._line[self._behind]
            self._behind += 1
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=self._following())
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)

    def _following(self) -> pytest.Item | None:
        return self._line[self._behind] if self._behind < len(self._line) else None

    def _and_those_behind(self, first: T) -> Iterator[tuple[T, pytest.Item | None]]:
        """A test, and those behind it that run within the same call; each with the one that comes after it."""
        item, following = first, self._following()
        yield item, following
        while following is not None and self._runs_along(following, first):
            self._behind += 1
            item, following = following, self._following()
            yield item, following

    def _runs_along(self, item: pytest.Item, first: T) -> TypeGuard[T]:
        """Whether the test that comes next may run within the call for an earlier one."""
        if item.parent is not first.parent or type(item) is not type(first) or has_other_marks(item):
            return False
        is_last = self._behind + 1 == len(self._line)
        if isinstance(item, CellItem) and isinstance(first, CellItem):
            return item.cell.model.alias == first.cell.model.alias and not (is_last and self._has_fixtures)
        return isinstance(item, pytest.Function) and not is_last and self.functions.takes(item)

    def prepare(self, session: pytest.Session) -> None:
        """What lives on is looked at by :meth:`settle`, and not by ten young generations before."""
        self._has_fixtures = _has_fixtures(session)
        self._may_drop_things = not all(map(keeps_nothing, session.items))
        if len(session.items) >= MANY_ITEMS and not self._may_drop_things:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(RARELY, *self._thresholds[1:])

    def relax(self) -> None:
        """Let the collector work as it did before."""
        if self._thresholds is not None:
            gc.set_threshold(*self._thresholds)
            self._thresholds = None

    def settle(self) -> None:
        """Keep it from walking the records and reports of thousands of tests, too, which live to the end.

        Not where a user's fixtures may hold things that they drop later, and not while a model is alive.
        """
        if self._unsettled >= MANY_ITEMS and not self._may_drop_things:
            self._unsettled = 0
            gc.collect()
            gc.freeze()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Cells of a suite take the short way where they can, and test functions theirs."""
        if type(item) is pytest.Function:
            return self._run_function(item, nextitem)
        if not isinstance(item, CellItem) or (nextitem is None and self._has_fixtures):
            return None
        if not self._may_be_short() or has_other_marks(item):
            return None
        if self._line:
            run_along(self._run_cell, self._and_those_behind(item), item.config)
        elif self._goes_on and nextitem is not None:
            run_along(self._run_cell, self._in_turn(item, nextitem), item.config)
        else:
            self._run_cell(item, nextitem)
        return True

    def _run_cell(self, item: CellItem, following: pytest.Item | None) -> None:
        run_short(self, item, self._wanted, is_last=following is None, following=following if self._may_wait else None)

    def _in_turn(self, item: CellItem, following: pytest.Item) -> Iterator[tuple[CellItem, pytest.Item]]:
        """In a parallel worker: a cell, and those of its model behind it that run within the same call."""
        assert self._ends is not None
        yield item, following
        while (
            self._holding.waits_last(item.nodeid) and isinstance(following, CellItem) and not has_other_marks(following)
        ):
            behind = self._ends.go_on()
            if behind is None:
                return
            item, following = following, behind
            yield item, following

    def _run_function(self, item: pytest.Function, following: pytest.Item | None) -> bool | None:
        """Not the last one, with which what is wider than a test is torn down, and not where the time of each phase is shown."""
        if following is None or not self.functions.takes(item) or not self._may_be_short():
            return None
        if self._tells_phases or has_other_marks(item):
            return None
        if self._line and self._bodies_go_on:
            run_along(self._run_body, self._and_those_behind(item), item.config)
        else:
            self._run_body(item, following)
        return True

    def _run_body(self, item: pytest.Function, following: pytest.Item | None) -> None:
        assert following is not None  # the last one goes the long way
        self.functions.run(item, following, self._wanted)

    def _may_be_short(self) -> bool:
        if self._short is None:
            self._short, self._wanted = may_be_short(self._plugin.config), self._what_is_wanted()
            self._tells_phases = self._wanted.teardown or any_set(self._plugin.config, "durations")
            self._may_wait = self._plugin.may_hold_reports and not any(self._wanted)
            if self._may_wait:
                self._ends = let_ends_wait(self._plugin.config, self._holding.waits_last)
                self._goes_on = self._ends is not None and may_share(self._plugin.config, loops=XDIST)
        return self._short

    def _what_is_wanted(self) -> Wanted:
        config = self._plugin.config
        if hasattr(config, "workerinput"):
            return wanted_in_worker(config, config.workerinput["llmci"]["wanted"])
        here = wanted(config)
        return here._replace(
            bounds=here.bounds or getattr(config.option, "verbose", -1) >= 0
        )  # the terminal begins its lines with them

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Whatever is recorded from now on belongs to this attempt at this test; if its set-up fails, nothing else judges it."""
        __tracebackhide__ = True
        self.begin_test(item)
        try:
            yield
        except NotReplayed as error:
            raise cannot(error, self._plugin.settings) from None
        except _OUTCOMES as error:
            self._conclude_beside(item, error)
            raise

    def begin_test(self, item: pytest.Item) -> None:
        """Forget what an earlier attempt left."""
        self._unsettled += 1
        self._current = item
        self._measurement, self._beside, self._verdict = None, "", ""
        if self._fills_junit:
            junit.forget(item)
        if self._plugin.is_running or model_of(item) is not None:
            self._plugin.session.test = CurrentTest(item.nodeid, getattr(item, "execution_count", 1) - 1)

    @cached_property
    def _fills_junit(self) -> bool:
        return junit.is_wanted(self._plugin.config)

    def handle(self, spec: ModelSpec | str) -> LLM:
        """What the fixture ``llm`` gives."""
        if isinstance(spec, str):
            return self.open(spec, "fixture llm")
        return LLM(self._plugin.session, spec, self._call_defaults)

    def prompt(self, value: Any) -> Prompt:
        """What the fixture ``llm_prompt`` gives."""
        try:
            return prompt_of(value, self._plugin.redactor.prompt_id)
        except ConfigError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    def open(self, text: str, where: str) -> LLM:
        """A model by its alias or spec.

        :raises ConfigError: if the spec is malformed or cannot work.
        """
        try:
            spec = self._plugin.planner.open(text, where)
        except ConfigError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        return LLM(self._plugin.session, spec, self._call_defaults)

    def _call_defaults(self, prompt: Prompt | None) -> CallDefaults:
        marker = self._plugin.planning.marker(self._current) if self._current is not None else MarkerValues()
        planner = self._plugin.planner
        try:
            checks = planner.call_checks(marker, prompt, "llm.generate()")
        except ConfigError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        return CallDefaults(generation=planner.generation(marker, prompt), checks=checks)

    def measure(self, llm: LLM, prompt: Any) -> CellResult:
        """What the fixture ``llm_result`` gives; a failure of the model is held until the test's body would run."""
        item = self._current
        assert item is not None  # a fixture of a test that has begun
        if not isinstance(llm, LLM):
            pytest.fail(
                "llm_result needs pytest-llmci's own fixture llm; this test has another one of that name.",
                pytrace=False,
            )
        known = self._plugin.collected.selected.get(item.nodeid)
        cell, plan = known or self._plan_late(item, llm, prompt)
        if any_set(self._plugin.config, "setuponly"):  # no test will ask for the numbers
            unmeasured = CellMeasurement(cell=cell, plan=plan)
            return CellResult(unmeasured, self._plugin.planner.metrics, self._plugin.session.judge)
        try:
            measurement = self._measure(cell, plan)
        except NotReplayed as error:
            raise cannot(error, self._plugin.settings) from None
        self._measurement = measurement
        return CellResult(measurement, self._plugin.planner.metrics, self._plugin.session.judge)

    def _plan_late(self, item: pytest.Item, llm: LLM, given: Any) -> tuple[Cell, CellPlan]:
        """Of a test whose prompts are its own: a parameter or a fixture of the user's, a text perhaps.

        :raises pytest.fail.Exception: if it is no prompt, or the test asks for what cannot be with it.
        """
        planner = self._plugin.planner
        try:
            prompt = prompt_of(given, self._plugin.redactor.prompt_id, "llm_prompt")
            cell = planner.test_cell(llm.spec, prompt)
            self._plugin.planning.note_cell(item, cell)
            return cell, planner.test_plan(cell, self._plugin.planning.marker(item))
        except ConfigError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    def _measure(self, cell: Cell, plan: CellPlan) -> CellMeasurement:
        return self._plugin.session.measure(
            cell,
            plan if plan.family == self._plugin.planning.family else replace(plan, family=self._plugin.planning.family),
        )

    def run_cell(self, item: CellItem, cell: Cell) -> None:
        """What an item of a suite does.

        :raises Explained: if the cell failed.
        """
        __tracebackhide__ = True
        _, plan = self._plugin.collected.selected[item.nodeid]
        try:
            self._measurement = self._measure(cell, plan)
        except NotReplayed as error:
            raise cannot(error, self._plugin.settings) from None
        failure = self._conclude(item)
        if failure is not None:
            raise failure

    def run_task(self, item: TaskItem, cell: TaskCell) -> None:
        """What an item of a benchmark does.

        :raises Explained: if it failed.
        """
        __tracebackhide__ = True
        try:
            measurement = self._plugin.task_runner.measure(cell)
        except NotReplayed as error:
            raise cannot(error, self._plugin.settings) from None
        self._plugin.comparing.compare_task(measurement)
        verdict = self._plugin.redactor.record(self._plugin.session.conclude_task(measurement))
        if self._fills_junit:
            junit.add_task(item, verdict, measurement.answers.rates)
        if verdict.verdict == "pass":
            return
        if verdict.verdict == "inconclusive":
            self._verdict = "inconclusive"
        from ..engine.reports.explain_task import explain_task

        failure = explain_task(
            verdict, measurement, repeat_command(item), fail_undecided=self._plugin.settings.inconclusive == "fail",
            metrics=self._plugin.planner.metrics, room=self._plugin.room,
        )  # fmt: skip
        if failure is not None:
            raise failure

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Raise what the fixtures held, run the body, then judge: a missed budget adds to the body's own failure."""
        __tracebackhide__ = True
        measurement = self._measurement
        if measurement is not None and (measurement.error is not None or not measurement.rounds):
            self._refuse_to_run(pyfuncitem, measurement)
        return (yield from self._judged(pyfuncitem))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge also what tests of other kinds asked for, such as those of ``unittest``."""
        __tracebackhide__ = True
        return (yield from self._judged(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Judge what fixtures asked for after the test, when its call phase is over."""
        __tracebackhide__ = True
        return (yield from self._judged(item))

    def _judged(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let something of the test run, then judge what it asked for."""
        __tracebackhide__ = True
        try:
            result = yield
        except NotReplayed as error:
            self._conclude(item)
            raise cannot(error, self._plugin.settings) from None
        except _OUTCOMES as error:
            self._conclude_beside(item, error)
            raise
        failure = self._conclude(item)
        if failure is not None:
            raise failure
        return result

    def _conclude_beside(self, item: pytest.Item, error: BaseException) -> None:
        """Judge; a failure of the model's is told beside what the test itself failed with."""
        failure = self._conclude(item)
        if failure is not None:
            self._beside = with_commands_unwrapped(str(failure))
            error.add_note("\n" + self._beside)

    def _refuse_to_run(self, item: pytest.Item, measurement: CellMeasurement) -> None:
        __tracebackhide__ = True
        failure = self._conclude(item)
        if failure is not None:
            raise failure
        pytest.skip("not measured: out of time (--llmci-time-limit)")

    def _conclude(self, item: pytest.Item) -> Explained | None:
        """Judge what the test measured and record it; the failure, if there is one."""
        if not self._plugin.is_running:
            return None
        failures: list[Explained] = []
        session = self._plugin.session
        measurement, self._measurement = self._measurement, None
        # at once: a verdict that the full disk did not take is not tried again in each later phase
        calls = [call for call in session.test.take_calls() if call.error is None]
        for each in [measurement, *calls] if measurement is not None else calls:
            verdict = session.conclude(each)
            into_junit = each is measurement and self._fills_junit
            if verdict.verdict == "pass" and not into_junit:
                continue
            verdict = self._plugin.redactor.record(verdict)
            if into_junit:
                junit.add(item, each, verdict, self._plugin.planner.metrics)
            if verdict.verdict == "pass":
                continue
            if verdict.verdict == "inconclusive":
                self._verdict = "inconclusive"
            failure = explain(
                verdict, each, repeat_command(item), fail_undecided=self._plugin.settings.inconclusive == "fail",
                metrics=self._plugin.planner.metrics, shown=self._plugin.redactor.shown,
                room=self._plugin.room,
            )  # fmt: skip
            if failure is not None:
                failures.append(failure)
        if not failures:
            return None
        if len(failures) > 1:
            failures[0].args = ("\n\n".join(str(failure) for failure in failures),)
        return failures[0]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show our failures without our frames; send records along where the controller is elsewhere."""
        report = yield
        if call.excinfo is not None:
            redact = self._plugin.settings.redact and is_ours(item)
            explain_in_report(item, call, report, redact=redact, beside=self._beside if item is self._current else "")
        self.finish_report(item, report)
        return report

    def finish_report(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Mark an undecided test; in a parallel worker, let the records travel with the report."""
        if self._verdict == "inconclusive" and report.when == "call" and item is self._current and not report.failed:
            setattr(report, VERDICT_ATTRIBUTE, "inconclusive")
        if (report.sections or report.longrepr is not None) and is_ours(item):
            hide_in_report(report, self._plugin.redactor)
        self._holding.hand_to(report)
        self._plugin.send_along(report)

    def lets_wait(self, item: CellItem, following: pytest.Item, held: Held, outcome: str) -> bool:
        """Whether the report of a cell waits for a later one, which takes it along."""
        if outcome != "passed" or self._verdict or not may_wait(item, following):
            return False
        return self._holding.note(held.nodeid, self._plugin.spool.path) and self._holding.keep(held)

    def tell_waiting(self) -> None:
        """At the end of a parallel worker, where it was stopped behind a test whose report waits."""
        if self._ends is not None:
            self._ends.tell()
        report = self._holding.take_last(self._current.nodeid) if self._current is not None else None
        if report is not None:
            self._plugin.send_along(report)
            self._plugin.config.hook.pytest_runtest_logreport(report=report)

    def conclude_rest(self) -> None:
        """Record the verdicts of what no test can report any more.

        After ``-x`` and Ctrl-C pytest tears the wider fixtures down when the last test is over.
        """
        if self._current is not None:
            self._conclude(self._current)


def _has_fixtures(session: pytest.Session) -> bool:
    """Whether tests with fixtures run as well: those of session scope are torn down with the last test, whatever it is."""
    return not all(isinstance(item, CellItem) for item in session.items)
