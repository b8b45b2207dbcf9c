"""An armed session, as every process that runs tests holds it: from tests to cells, from cells to verdicts."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from .. import backends, checks, measure, sinks
from ..clock import SystemClock
from ..engine.explain import Explained, explain, with_commands_unwrapped
from ..engine.handles import LLM, CallDefaults
from ..engine.observer import Silent
from ..engine.planner import MarkerValues, Places, Planner
from ..engine.results import CellResult
from ..engine.schedule import CellMeasurement, CellPlan
from ..engine.session import BenchSession, CurrentTest, prompt_of
from ..errors import ConfigError
from ..records import Cell, LogRecord, ModelSpec, Prompt, to_json
from ..registry import Registry
from ..settings import Settings, resolve_settings
from . import ARMED
from .collecting import (
    group_by_model,
    model_of,
    parameter,
    parametrize_models,
    parametrize_prompts,
    parametrized_by_user,
    resolves_to_ours,
)
from .coverage import COLLECTED_ATTRIBUTE, Collected
from .failures import explain_in_report
from .fixtures import MARKER
from .items import CellItem, new_suite
from .marks import read_markers
from .options import gather
from .protocol import may_be_short, run_short, wants_teardown
from .repeat import repeat_command

if TYPE_CHECKING:
    from .controller import Controller

MEASUREMENT: pytest.StashKey[CellMeasurement] = pytest.StashKey()
VERDICT: pytest.StashKey[str] = pytest.StashKey()
RECORDS_ATTRIBUTE = "llmci_records"
"""On a report from a parallel worker: what was recorded during the test."""
VERDICT_ATTRIBUTE = "llmci_verdict"
REFUSAL = "llmci"
"""Node id of the collection error with which a parallel worker refuses what was asked for."""
MANY_ITEMS = 1000
_OUTCOMES = (Exception, pytest.fail.Exception, pytest.skip.Exception)
"""What ends a phase of a test and not the session: the last two are no ``Exception``."""
T = TypeVar("T")


def arm(config: pytest.Config) -> None:
    """Set the session up; whatever is wrong with the settings is one line and exit status 4."""
    try:
        plugin = ArmedPlugin(config)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[ARMED] = plugin
    config.pluginmanager.register(plugin, "llmci-armed")
    if hasattr(config, "workerinput"):
        plugin.join_parallel_session(config.workerinput["llmci"])
        return
    from .controller import Controller
    from .terminal import Terminal
    from .xdist import ParallelSession, check_parallel_options

    check_parallel_options(config, plugin.settings)
    plugin.terminal = Terminal(config, plugin)
    plugin.observer.target = plugin.terminal
    plugin.controller = Controller(config, plugin)
    config.pluginmanager.register(plugin.terminal, "llmci-terminal")
    config.pluginmanager.register(plugin.controller, "llmci-controller")
    if config.pluginmanager.hasplugin("dsession") or config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(ParallelSession(config, plugin), "llmci-xdist")


def build_registry(config: pytest.Config) -> Registry:
    """The built-in names and those of plugins and the root ``conftest.py``."""
    registry = Registry()
    for package in (backends, checks, measure, sinks):
        package.register(registry)
    try:
        config.hook.pytest_llmci_register.call_historic(kwargs={"registry": registry})
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"pytest_llmci_register: {type(error).__name__}: {error}") from error
    return registry


class RedirectedObserver(Silent):
    """Passes on to the terminal, where there is one."""

    def __init__(self) -> None:
        self.target: Silent = Silent()

    def loading(self, spec: ModelSpec) -> None:
        self.target.loading(spec)

    def say(self, text: str) -> None:
        self.target.say(text)

    def loaded(self, spec: ModelSpec, seconds: float) -> None:
        self.target.loaded(spec, seconds)

    def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
        self.target.round_ended(cell, done, planned, seconds)

    def tick(self) -> None:
        self.target.tick()


class ControllerWatch(Silent):
    """In a parallel worker: ends it, and its model, when the controller is gone; pytest-xdist alone would let both live on."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._plugin = plugin
        self._parent = os.getppid()

    def tick(self) -> None:
        if os.getppid() != self._parent:
            self._plugin.shut_down()
            os._exit(1)


class ArmedPlugin:
    """Collects cells, measures them in their tests, and hands on what was recorded."""

    terminal: Any = None
    controller: Controller | None = None

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.registry = build_registry(config)
        self.settings: Settings = resolve_settings(gather(config), self.registry.names("sink"))
        base = config.inipath.parent if config.inipath else config.rootpath
        places = Places(command=config.invocation_params.dir, settings=base)
        self.planner = Planner(self.settings, self.registry, places, import_path(config))
        self.observer = RedirectedObserver()
        self.run_folder: Path | None = None
        self.pending: list[LogRecord] = []
        self.spool: Any = None
        self.collected = Collected()
        self.faults: list[tuple[str, str]] = []
        """(test without its parameters, or "" for the session; what is wrong), for all that was collected."""
        self._told_collected = False
        self._session: BenchSession | None = None
        self._family = 1
        if self.settings.suites:
            self._settle_what_to_collect()

    # ------------------------------------------------------------------------------------------------------- session

    def _settle_what_to_collect(self) -> None:
        """``--llmci-suite`` without paths runs only the suite; from the settings it runs beside the tests."""
        given_by_flag = self.settings.origins.get("suite", "").startswith("--")
        if given_by_flag and self.config.args_source is not pytest.Config.ArgsSource.ARGS:
            self.config.args = []

    @property
    def session(self) -> BenchSession:
        """The engine's session, built when the first test needs it."""
        if self._session is None:
            self._session = BenchSession(
                self.settings, self.registry, self.planner.metrics, clock=SystemClock(), observer=self.observer, emit=self.emit,
                log_folder=self._log_folder(), sys_path=import_path(self.config), process=self.process,
            )  # fmt: skip
            self._session.schedule.select(cell for cell, _ in self.collected.selected.values())
        return self._session

    @property
    def measured(self) -> int:
        """Inferences and profiles of this process so far."""
        return self._session.measured if self._session is not None else 0

    @property
    def process(self) -> str:
        """``main``, or the name of the parallel worker."""
        given = getattr(self.config, "workerinput", {}).get("workerid", "main")
        return str(given)

    def _log_folder(self) -> Path:
        folder = (self.run_folder or Path(self.settings.output)) / "workers"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # ----------------------------------------------------------------------------------------------------- recording

    def emit(self, record: LogRecord) -> None:
        """Keep a record: at once in the log, or in the spool and with the next report where the controller is elsewhere."""
        if self.controller is not None:
            self.controller.write(record)
            return
        if self.spool is not None:
            self.spool.append(record)
        self.pending.append(record)

    def join_parallel_session(self, facts: dict[str, str]) -> None:
        """In a parallel worker: find the controller's run folder, if we share a file system."""
        self.observer.target = ControllerWatch(self)
        folder = Path(facts["run"])
        if (folder / "spool" / facts["token"]).exists():
            from ..store.log import SpoolWriter

            self.run_folder = folder
            self.spool = SpoolWriter(folder / "spool" / f"{self.process}-{os.getpid()}.jsonl")

    # ---------------------------------------------------------------------------------------------------- collecting

    @pytest.hookimpl
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize ``llm`` and ``llm_prompt`` where they are ours."""
        wants = [
            name for name in ("llm", "llm_prompt")
            if name in metafunc.fixturenames and resolves_to_ours(metafunc.definition, name) and not parametrized_by_user(metafunc, name)
        ]  # fmt: skip
        if not wants:
            return
        where = metafunc.definition.nodeid
        marker = self._marker(metafunc.definition)
        if "llm" in wants:
            parametrize_models(metafunc, self._or_fault(where, lambda: self.planner.models(marker, where)))
        if "llm_prompt" in wants:
            parametrize_prompts(metafunc, self._or_fault(where, lambda: self.planner.prompts_of(marker, where)))

    def _or_fault(self, where: str, read: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        """What could be read; else nothing, and a fault that ends the session once everything is collected."""
        try:
            return read()
        except ConfigError as error:
            self.faults.append((where, str(error)))
            return ()

    def _marker(self, node: pytest.Item) -> MarkerValues:
        try:
            return read_markers(list(node.iter_markers(MARKER)))
        except ConfigError as error:
            where = _function_of(node)
            self.faults.append((where, f"{where}: {error}"))
            return MarkerValues()

    def suite_cells(self) -> list[Cell]:
        """The cells of the built-in suite.

        :raises ConfigError: if there is no model, or two cells would have one id.
        """
        cells = self.planner.suite_cells()
        offered = list(cells)
        try:
            self.config.hook.pytest_llmci_modify_cells(config=self.config, cells=cells)
        except Exception as error:
            raise ConfigError(f"pytest_llmci_modify_cells: {type(error).__name__}: {error}") from error
        if not all(isinstance(cell, Cell) for cell in cells) or len({cell.id for cell in cells}) < len(cells):
            raise ConfigError("pytest_llmci_modify_cells: the list must hold each cell at most once, and nothing else.")
        self.collected.note_removed(offered, cells)
        return cells

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Add the suites' items before anything is deselected; bring each model's tests together afterwards."""
        for name in self.settings.suites:
            self._add_suite(session, name, items)
        self._plan_cells(items)
        before = list(items)
        yield
        group_by_model(items)
        self.collected.select(item.nodeid for item in items)
        if not any(map(_is_ours, items)):
            self.collected.note_all_deselected(sum(map(_is_ours, before)), self.config.option)
        self._note_models(items)
        functions = {_function_of(item) for item in items}
        self.faults = [fault for fault in dict.fromkeys(self.faults) if not fault[0] or fault[0] in functions]
        if self.faults and self.controller is None:
            self._refuse_in_parallel(items)

    def _note_models(self, items: Iterable[pytest.Item]) -> None:
        """An alias must not mean one model in this test and another in that."""
        for item in items:
            model = model_of(item)
            if model is not None:
                try:
                    self.planner.names.note(model, where := _function_of(item))
                except ConfigError as error:
                    self.faults.append((where, str(error)))

    def _refuse_in_parallel(self, items: list[pytest.Item]) -> None:
        """In a parallel worker a usage error would only look like a crash; a collection error reaches the controller."""
        text = "\n".join(text for _, text in self.faults)
        items.clear()
        report = pytest.CollectReport(nodeid=REFUSAL, outcome="failed", longrepr=text, result=[])
        self.config.hook.pytest_collectreport(report=report)

    def _add_suite(self, session: pytest.Session, name: str, items: list[pytest.Item]) -> None:
        suite = new_suite(session, name, self)
        try:
            found = list(suite.collect())
        except ConfigError as error:
            self.faults.append(("", str(error)))
            return
        for item in found:
            item.add_marker(MARKER)
        items += found
        # pytest counts what collect reports hold; the cells were not collected from a file
        report = pytest.CollectReport(nodeid=suite.nodeid, outcome="passed", longrepr=None, result=list(found))
        self.config.hook.pytest_collectreport(report=report)

    def _plan_cells(self, items: Iterable[pytest.Item]) -> None:
        """Work out every cell's plan, so that whatever is wrong is said before anything loads."""
        for item in items:
            try:
                self._plan_item(item)
            except ConfigError as error:
                where = _function_of(item)
                self.faults.append((where, f"{where}: {error}"))

    def _plan_item(self, item: pytest.Item) -> None:
        model = model_of(item)
        if model is None:
            if item.get_closest_marker(MARKER) is not None:
                self._check_bare_marker(item)
            return
        self.collected.models.add(model.alias)
        if isinstance(item, CellItem):
            self.collected.add(item.nodeid, item.cell, self.planner.suite_plan(item.cell))
            return
        marker = self._marker(item)
        self.planner.checks(marker, None, item.nodeid)
        prompt = parameter(item, "llm_prompt")
        if not isinstance(prompt, Prompt) or not resolves_to_ours(item, "llm_result"):
            if marker.budgets:
                raise ConfigError(
                    "marker llmci: budgets need the fixture llm_result; a single llm.generate() is not gated on time."
                )
            return
        cell = self.planner.test_cell(model, prompt)
        self.collected.add(item.nodeid, cell, self.planner.test_plan(cell, marker))

    def _check_bare_marker(self, item: pytest.Item) -> None:
        marker = self._marker(item)
        asked = [name for name in ("models", "prompts", "budgets", "checks") if getattr(marker, name)]
        if asked and not any(resolves_to_ours(item, name) for name in ("llm", "llm_prompt", "llm_result", "llm_open")):
            raise ConfigError(
                f"marker llmci: {asked[0]}= has no effect: the test uses none of the fixtures llm, llm_prompt, llm_result."
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Nothing is loaded before everything that can be known to be wrong has been said."""
        if self.faults and self.controller is not None:
            raise pytest.UsageError(*(text for _, text in self.faults))
        self.collected.note_budgets(self.planner.budgets, self.planner.specs)
        self._family = max(1, self.collected.uncertain_budgets())

    # -------------------------------------------------------------------------------------------------------- running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Keep the garbage collector from walking thousands of collected items again and again: a tenth of the time."""
        if len(session.items) >= MANY_ITEMS:
            gc.collect()
            gc.freeze()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Cells of a suite take the short way where they can; not the last one, with which fixtures of the session end."""
        if not isinstance(item, CellItem) or nextitem is None:
            return None
        if self._short is None:
            self._short, self._teardown = may_be_short(self.config), wants_teardown(self.config)
        if not self._short or any(mark.name != MARKER for mark in item.iter_markers()):  # skip, xfail, flaky, ...
            return None
        run_short(self, item, teardown=self._teardown)
        return True

    _short: bool | None = None
    _teardown = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Whatever is recorded from now on belongs to this attempt at this test; if its set-up fails, nothing else judges it."""
        __tracebackhide__ = True
        self.begin_test(item)
        try:
            yield
        except _OUTCOMES as error:
            self._conclude_beside(item, error)
            raise

    def begin_test(self, item: pytest.Item) -> None:
        """Forget what an earlier attempt left."""
        item.stash[VERDICT] = ""
        if MEASUREMENT in item.stash:
            del item.stash[MEASUREMENT]
        if self._session is not None or model_of(item) is not None:
            self.session.test = CurrentTest(item.nodeid, getattr(item, "execution_count", 1) - 1)
        self._current = item

    _current: pytest.Item | None = None

    def handle(self, spec: ModelSpec | str) -> LLM:
        """What the fixture ``llm`` gives."""
        return self.open(spec, "fixture llm") if isinstance(spec, str) else LLM(self.session, spec, self._call_defaults)

    def prompt(self, value: Any) -> Prompt:
        """What the fixture ``llm_prompt`` gives."""
        try:
            return prompt_of(value)
        except ConfigError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    def open(self, text: str, where: str) -> LLM:
        """A model by its alias or spec.

        :raises ConfigError: if the spec is malformed or cannot work.
        """
        try:
            spec = self.planner.open(text, where)
        except ConfigError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        return LLM(self.session, spec, self._call_defaults)

    def _call_defaults(self) -> CallDefaults:
        marker = self._marker(self._current) if self._current is not None else MarkerValues()
        return CallDefaults(
            generation=self.planner.generation(marker, None), checks=self.planner.checks(marker, None, "llm.generate()")
        )

    def measure(self, item: pytest.Item, llm: LLM, prompt: Prompt) -> CellResult:
        """What the fixture ``llm_result`` gives; a failure of the model is held until the test's body would run."""
        if not isinstance(llm, LLM):
            pytest.fail(
                "llm_result needs pytest-llmci's own fixture llm; this test has another one of that name.",
                pytrace=False,
            )
        known = self.collected.selected.get(item.nodeid)
        cell, plan = known or self._plan_late(item, llm, prompt)
        measurement = self._measure(cell, plan)
        item.stash[MEASUREMENT] = measurement
        return CellResult(measurement, self.planner.metrics, self.session.judge)

    def _plan_late(self, item: pytest.Item, llm: LLM, prompt: Prompt) -> tuple[Cell, CellPlan]:
        cell = self.planner.test_cell(llm.spec, prompt)
        return cell, self.planner.test_plan(cell, self._marker(item))

    def _measure(self, cell: Cell, plan: CellPlan) -> CellMeasurement:
        return self.session.measure(cell, plan if plan.family == self._family else replace(plan, family=self._family))

    def run_cell(self, item: CellItem, cell: Cell) -> None:
        """What an item of a suite does.

        :raises Explained: if the cell failed.
        """
        __tracebackhide__ = True
        _, plan = self.collected.selected[item.nodeid]
        item.stash[MEASUREMENT] = self._measure(cell, plan)
        failure = self._conclude(item)
        if failure is not None:
            raise failure

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Raise what the fixtures held, run the body, then judge: a missed budget adds to the body's own failure."""
        __tracebackhide__ = True
        measurement = pyfuncitem.stash.get(MEASUREMENT, None)
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
            error.add_note("\n" + with_commands_unwrapped(str(failure)))

    def _refuse_to_run(self, item: pytest.Item, measurement: CellMeasurement) -> None:
        __tracebackhide__ = True
        failure = self._conclude(item)
        if failure is not None:
            raise failure
        pytest.skip("not measured: out of time (--llmci-time-limit)")

    def _conclude(self, item: pytest.Item) -> Explained | None:
        """Judge what the test measured and record it; the failure, if there is one."""
        if self._session is None:
            return None
        failures: list[Explained] = []
        measurement = item.stash.get(MEASUREMENT, None)
        calls = [call for call in self.session.test.calls if call.error is None]
        for each in ([measurement] if measurement is not None else []) + calls:
            verdict = self.session.conclude(each)
            if verdict.verdict == "pass":
                continue
            if verdict.verdict == "inconclusive":
                item.stash[VERDICT] = "inconclusive"
            failure = explain(verdict, each, repeat_command(item), fail_undecided=self.settings.inconclusive == "fail")
            if failure is not None:
                failures.append(failure)
        self.session.test.calls.clear()
        if measurement is not None:
            del item.stash[MEASUREMENT]
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
        explain_in_report(item, call, report)
        self.finish_report(item, report)
        return report

    def finish_report(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Mark an undecided test; in a parallel worker, let the records travel with the report."""
        if report.when == "call" and item.stash.get(VERDICT, "") == "inconclusive" and not report.failed:
            setattr(report, VERDICT_ATTRIBUTE, "inconclusive")
        if self.controller is not None:
            return
        if self.pending:
            setattr(report, RECORDS_ATTRIBUTE, [to_json(record) for record in self.pending])
            self.pending = []
        if not self._told_collected:
            setattr(report, COLLECTED_ATTRIBUTE, self.collected.to_json())
            self._told_collected = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """No model outlives the session; a parallel worker that ran no test still tells what it collected."""
        if self.controller is None:
            self.config.workeroutput[COLLECTED_ATTRIBUTE] = self.collected.to_json()  # type: ignore[attr-defined]  # pytest-xdist's
        try:
            return (yield)
        finally:
            self.finish()

    def pytest_unconfigure(self) -> None:
        """Nor an aborted one."""
        self.shut_down()

    def finish(self) -> None:
        """Record what is left to be judged and end every model; safe to call twice.

        After ``-x`` and Ctrl-C pytest tears the wider fixtures down when no test can report it any more.
        """
        try:
            if self._current is not None:
                self._conclude(self._current)
        finally:
            self.shut_down()

    def shut_down(self) -> None:
        """End every model; safe to call twice."""
        if self._session is not None:
            self._session.close()
        if self.spool is not None:
            self.spool.close()
            self.spool = None


def import_path(config: pytest.Config) -> list[str]:
    """Where users' modules are found: this process's import path, the root directory added."""
    root = str(config.rootpath)
    entries = [entry or os.getcwd() for entry in sys.path]
    return list(dict.fromkeys([*entries, root]))


def _is_ours(item: pytest.Item) -> bool:
    return item.get_closest_marker(MARKER) is not None


def _function_of(node: pytest.Item) -> str:
    """Node id without parameters."""
    return node.nodeid.partition("[")[0] if "::" in node.nodeid else node.nodeid
