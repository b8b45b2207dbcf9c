"""An armed session, as every process that runs tests holds it: from tests to cells, from cells to verdicts."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .. import backends, checks, measure, sinks
from ..clock import SystemClock
from ..engine import limits
from ..engine.explain import Explained, explain
from ..engine.handles import LLM, CallDefaults
from ..engine.observer import Silent
from ..engine.results import CellResult
from ..engine.schedule import CellMeasurement, CellPlan
from ..engine.session import BenchSession, CurrentTest, matching
from ..errors import ConfigError
from ..matrix import cell_id, expand
from ..metrics import MetricDef
from ..prompts import load_prompts
from ..records import Cell, GenerationSettings, LogRecord, ModelSpec, Prompt, to_json
from ..registry import Registry
from ..settings import DEFAULT_SUITE_PROMPTS, SUITE_MAX_NEW_TOKENS, TEST_MAX_NEW_TOKENS, Settings, resolve_settings
from ..specs import read_specs
from ..stats.budget_expression import Budget, check_contradictions, max_latency_budget, max_memory_budget, parse_budget
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
from .coverage import Collected
from .failures import explain_in_report
from .fixtures import MARKER
from .items import CellItem, new_suite
from .marks import MarkerValues, read_markers
from .options import gather
from .protocol import may_be_short, run_short

if TYPE_CHECKING:
    from .controller import Controller

MEASUREMENT: pytest.StashKey[CellMeasurement] = pytest.StashKey()
VERDICT: pytest.StashKey[str] = pytest.StashKey()
RECORDS_ATTRIBUTE = "llmci_records"
"""On a report from a parallel worker: what was recorded during the test."""
COLLECTED_ATTRIBUTE = "llmci_collected"
"""On the first report of a parallel worker: what it collected."""
VERDICT_ATTRIBUTE = "llmci_verdict"


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
    config.hook.pytest_llmci_register.call_historic(kwargs={"registry": registry})
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
        self.base = config.inipath.parent if config.inipath else config.rootpath
        self.registry = build_registry(config)
        self.settings: Settings = resolve_settings(gather(config), self.registry.names("sink"))
        self.metrics: dict[str, MetricDef] = {metric.name: metric for metric in measure.metric_defs(self.registry)}
        self.specs = read_specs(
            [(m.text, m.origin) for m in self.settings.models], self.registry.names("backend"), self._model_base()
        )
        self.prompts = self._load_prompts([(p.text, p.origin) for p in self.settings.prompts])
        self.suite_prompts: tuple[Prompt, ...] = ()
        if self.settings.suites:
            self.suite_prompts = self.prompts or self._load_prompts([(DEFAULT_SUITE_PROMPTS, "--llmci-suite")])
        self.budgets = self._session_budgets()
        self.observer = RedirectedObserver()
        self.run_folder: Path | None = None
        self.pending: list[LogRecord] = []
        self.spool: Any = None
        self.collected = Collected()
        self.faults: list[str] = []
        self.limits = limits.Preflight(self.registry, import_path(config))
        for spec in self.specs:
            self.limits.check(spec, matching(self.budgets, spec.alias))
        self._parsed: dict[tuple[str, str], Budget] = {}
        self._opened: dict[str, ModelSpec] = {}
        self._checked = {"valid"}
        self._told_collected = False
        self._session: BenchSession | None = None
        self._family = 1
        if self.settings.suites:
            self._settle_what_to_collect()

    # ------------------------------------------------------------------------------------------------------ settings

    def _model_base(self) -> Path:
        """Lists named on the command line are relative to where the command was given."""
        origin = self.settings.origins.get("models", "")
        return self.config.invocation_params.dir if origin.startswith("--") else self.base

    def _load_prompts(self, sources: Iterable[tuple[str, str]]) -> tuple[Prompt, ...]:
        found: list[Prompt] = []
        for text, origin in sources:
            found += load_prompts(
                text, origin, self.config.invocation_params.dir if origin.startswith("--") else self.base
            )
        return tuple(found)

    def _session_budgets(self) -> tuple[Budget, ...]:
        found = [parse_budget(b.text, b.origin, self.metrics) for b in self.settings.budgets]
        found += [max_latency_budget(b.text, b.origin, self.metrics) for b in self.settings.max_latency]
        found += [max_memory_budget(b.text, b.origin, self.metrics) for b in self.settings.max_memory]
        check_contradictions(found)
        return tuple(found)

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
                self.settings, self.registry, self.metrics, clock=SystemClock(), observer=self.observer, emit=self.emit,
                log_folder=self._log_folder(), sys_path=import_path(self.config), process=self.process,
            )  # fmt: skip
            self._session.schedule.select(cell for cell, _ in self.collected.selected.values())
        return self._session

    @property
    def output_folder(self) -> Path:
        """Where run folders go: relative to the command where it was given there, else to the settings file."""
        given_here = self.settings.origins.get("output", "--").startswith("--")
        return (self.config.invocation_params.dir if given_here else self.base) / self.settings.output

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
            parametrize_models(metafunc, self._models_for(marker, where))
        if "llm_prompt" in wants:
            parametrize_prompts(metafunc, self._prompts_for(marker, where))

    def _marker(self, node: pytest.Item) -> MarkerValues:
        try:
            return read_markers(list(node.iter_markers(MARKER)))
        except ConfigError as error:
            self.faults.append(f"{node.nodeid}: {error}")
            return MarkerValues()

    def _models_for(self, marker: MarkerValues, where: str) -> tuple[ModelSpec, ...]:
        if marker.models is None:
            if not self.specs:
                self.faults.append(
                    f"{where}: no model: give --llm-models=SPEC, llmci_models in the settings, or @pytest.mark.llmci(models=...)."
                )
            return self.specs
        try:
            specs = read_specs(
                [(text, f"{where}: marker llmci(models=)") for text in marker.models],
                self.registry.names("backend"),
                self.base,
            )
            for spec in specs:
                self.limits.check(spec, matching(self.budgets, spec.alias))
        except ConfigError as error:
            self.faults.append(str(error))
            return ()
        return specs

    def _prompts_for(self, marker: MarkerValues, where: str) -> tuple[Prompt, ...]:
        if marker.prompts is None:
            if not self.prompts:
                self.faults.append(
                    f"{where}: no prompts: give --llm-prompts=NAME|FILE, llmci_prompts in the settings, or @pytest.mark.llmci(prompts=...)."
                )
            return self.prompts
        try:
            return self._load_prompts((text, f"{where}: marker llmci(prompts=)") for text in marker.prompts)
        except ConfigError as error:
            self.faults.append(str(error))
            return ()

    def suite_cells(self) -> list[Cell]:
        """The cells of the built-in suite.

        :raises ConfigError: if there is no model, or two cells would have one id.
        """
        if not self.specs:
            raise ConfigError("--llmci-suite: no model: give --llm-models=SPEC or llmci_models in the settings.")
        cells = list(expand(self.specs, self.suite_prompts))
        self.config.hook.pytest_llmci_modify_cells(config=self.config, cells=cells)
        return cells

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Add the suites' items before anything is deselected; bring each model's tests together afterwards."""
        for name in self.settings.suites:
            self._add_suite(session, name, items)
        self._plan_cells(items)
        before = len(self.collected.cells)
        yield
        group_by_model(items)
        self.collected.select(item.nodeid for item in items)
        self.collected.deselected = before - len(self.collected.selected)
        if self.faults and self.controller is None:
            self._refuse_in_parallel(items)

    def _refuse_in_parallel(self, items: list[pytest.Item]) -> None:
        """In a parallel worker a usage error would only look like a crash; a collection error reaches the controller."""
        text = "\n".join(dict.fromkeys(self.faults))
        items.clear()
        report = pytest.CollectReport(nodeid="llmci", outcome="failed", longrepr=text, result=[])
        self.config.hook.pytest_collectreport(report=report)

    def _add_suite(self, session: pytest.Session, name: str, items: list[pytest.Item]) -> None:
        suite = new_suite(session, name, self)
        try:
            found = list(suite.collect())
        except ConfigError as error:
            self.faults.append(str(error))
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
                self.faults.append(f"{item.nodeid}: {error}")

    def _plan_item(self, item: pytest.Item) -> None:
        model = model_of(item)
        if model is None:
            if item.get_closest_marker(MARKER) is not None:
                self._check_bare_marker(item)
            return
        self.collected.models.add(model.alias)
        if isinstance(item, CellItem):
            self.collected.add(item.nodeid, item.cell, self._suite_plan(item.cell))
            return
        marker = self._marker(item)
        prompt = parameter(item, "llm_prompt")
        if not isinstance(prompt, Prompt) or not resolves_to_ours(item, "llm_result"):
            if marker.budgets:
                raise ConfigError(
                    "marker llmci: budgets need the fixture llm_result; a single llm.generate() is not gated on time."
                )
            return
        cell = Cell(id=cell_id(model, prompt), model=model, prompt=prompt)
        self.collected.add(item.nodeid, cell, self._test_plan(cell, marker, item.nodeid))

    def _check_bare_marker(self, item: pytest.Item) -> None:
        marker = self._marker(item)
        asked = [name for name in ("models", "prompts", "budgets", "checks") if getattr(marker, name)]
        if asked and not any(resolves_to_ours(item, name) for name in ("llm", "llm_prompt", "llm_result", "llm_open")):
            raise ConfigError(
                f"marker llmci: {asked[0]}= has no effect: the test uses none of the fixtures llm, llm_prompt, llm_result."
            )

    def _suite_plan(self, cell: Cell) -> CellPlan:
        s = self.settings
        tokens = s.max_new_tokens or cell.prompt.max_new_tokens or SUITE_MAX_NEW_TOKENS
        return self._plan(
            cell, rounds=s.rounds, max_rounds=s.max_rounds, warmup=s.warmup, checks=cell.prompt.checks,
            generation=GenerationSettings(max_new_tokens=tokens, fixed_length=True, temperature=s.temperature, seed=s.seed),
            budgets=matching(self.budgets, cell.model.alias),
        )  # fmt: skip

    def _test_plan(self, cell: Cell, marker: MarkerValues, where: str) -> CellPlan:
        s = self.settings
        rounds = marker.rounds or s.rounds
        own = tuple(self._budget(text, f"{where}: marker llmci") for text in marker.budgets)
        budgets = (*matching(own, cell.model.alias), *matching(self.budgets, cell.model.alias))
        check_contradictions(budgets)
        self.limits.check(cell.model, budgets)
        if not marker.timed:
            budgets = tuple(budget for budget in budgets if budget.metric.deterministic)
        return self._plan(
            cell, rounds=rounds if marker.timed else 1, warmup=s.warmup if marker.warmup is None else marker.warmup,
            max_rounds=(marker.max_rounds or max(s.max_rounds, rounds)) if marker.timed else 1, budgets=budgets,
            generation=self._generation(marker, cell.prompt), checks=cell.prompt.checks if marker.checks is None else marker.checks,
            default_check=marker.checks is None,
        )  # fmt: skip

    def _plan(
        self, cell: Cell, *, rounds: int, max_rounds: int, warmup: int, generation: GenerationSettings, budgets: tuple[Budget, ...],
        checks: tuple[str, ...], default_check: bool = True,
    ) -> CellPlan:  # fmt: skip
        if max_rounds < rounds:
            raise ConfigError(f"max_rounds={max_rounds} is less than rounds={rounds}.")
        names = (*(("valid",) if default_check else ()), *checks)
        for name in names:
            self._check_name(name, cell)
        return CellPlan(
            rounds=rounds, max_rounds=max_rounds, warmup=warmup, block=self.settings.block, generation=generation, budgets=budgets,
            checks=tuple(dict.fromkeys(names)),
        )  # fmt: skip

    def _check_name(self, name: str, cell: Cell) -> None:
        if name not in self._checked:
            from ..checks import parse_check

            parse_check(name, self.registry, f"check of {cell.id}")
            self._checked.add(name)

    def _generation(self, marker: MarkerValues, prompt: Prompt | None) -> GenerationSettings:
        s = self.settings
        tokens = (
            marker.max_new_tokens
            or s.max_new_tokens
            or (prompt.max_new_tokens if prompt else None)
            or TEST_MAX_NEW_TOKENS
        )
        return GenerationSettings(max_new_tokens=tokens, temperature=s.temperature, seed=s.seed)

    def _budget(self, text: str, origin: str) -> Budget:
        key = (text, origin)
        if key not in self._parsed:
            self._parsed[key] = parse_budget(text, origin, self.metrics)
        return self._parsed[key]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Nothing is loaded before everything that can be known to be wrong has been said."""
        if self.faults and self.controller is not None:
            raise pytest.UsageError(*dict.fromkeys(self.faults))
        self.collected.note_budgets(self.budgets, self.specs)
        self._family = max(1, self.collected.uncertain_budgets())

    # -------------------------------------------------------------------------------------------------------- running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Cells of a suite take the short way where they can."""
        if not isinstance(item, CellItem):
            return None
        if self._short is None:
            self._short = may_be_short(self.config)
        if not self._short or item.get_closest_marker("flaky") is not None:
            return None
        run_short(self, item)
        return True

    _short: bool | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Whatever is recorded from now on belongs to this attempt at this test."""
        self.begin_test(item)

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

    def open(self, text: str, where: str) -> LLM:
        """A model by its spec.

        :raises ConfigError: if the spec is malformed.
        """
        if text not in self._opened:
            spec = next((s for s in self.specs if text in (s.alias, s.text)), None)
            spec = spec or read_specs([(text, where)], self.registry.names("backend"), self.base)[0]
            self.limits.check(spec, ())
            self._opened[text] = spec
        return LLM(self.session, self._opened[text], self._call_defaults)

    def _call_defaults(self) -> CallDefaults:
        marker = self._marker(self._current) if self._current is not None else MarkerValues()
        checks = ("valid",) if marker.checks is None else marker.checks
        return CallDefaults(generation=self._generation(marker, None), checks=checks)

    def measure(self, item: pytest.Item, llm: LLM, prompt: Prompt) -> CellResult:
        """What the fixture ``llm_result`` gives; a failure of the model is held until the test's body would run."""
        known = self.collected.selected.get(item.nodeid)
        cell, plan = known or self._plan_late(item, llm, prompt)
        measurement = self._measure(cell, plan)
        item.stash[MEASUREMENT] = measurement
        return CellResult(measurement, self.metrics, self.session.judge)

    def _plan_late(self, item: pytest.Item, llm: LLM, prompt: Prompt) -> tuple[Cell, CellPlan]:
        cell = Cell(id=cell_id(llm.spec, prompt), model=llm.spec, prompt=prompt)
        return cell, self._test_plan(cell, self._marker(item), item.nodeid)

    def _measure(self, cell: Cell, plan: CellPlan) -> CellMeasurement:
        return self.session.measure(cell, replace(plan, family=self._family))

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
        try:
            result = yield
        except Exception as error:
            failure = self._conclude(pyfuncitem)
            if failure is not None:
                error.add_note("\n" + str(failure))
            raise
        failure = self._conclude(pyfuncitem)
        if failure is not None:
            raise failure
        return result

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
            if verdict.verdict == "inconclusive":
                item.stash[VERDICT] = "inconclusive"
            failure = explain(
                verdict, each, self._repeat(item, each), fail_undecided=self.settings.inconclusive == "fail"
            )
            if failure is not None:
                failures.append(failure)
        self.session.test.calls.clear()
        if not failures:
            return None
        if len(failures) > 1:
            failures[0].args = ("\n\n".join(str(failure) for failure in failures),)
        return failures[0]

    def _repeat(self, item: pytest.Item, measurement: CellMeasurement) -> str:
        """The command that runs this cell again."""
        return f'{self.repeat_prefix} -k "{measurement.cell.id}"'

    @property
    def repeat_prefix(self) -> str:
        """``pytest`` with the options of ours that were given on the command line."""
        given = [arg for arg in self.config.invocation_params.args if str(arg).startswith(("--llm", "--llmci"))]
        return " ".join(["pytest", *map(_shell_quoted, given)]) if given else "LLMCI=1 pytest"

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

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """No model outlives the session."""
        self.shut_down()

    def pytest_unconfigure(self) -> None:
        """Nor an aborted one."""
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


def _shell_quoted(argument: object) -> str:
    import shlex

    return shlex.quote(str(argument))
