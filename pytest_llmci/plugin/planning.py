"""From collected tests to planned cells; whatever is wrong with what was asked for is said before anything loads."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from ..engine.load_cells import LOAD
from ..engine.marker_values import MarkerValues
from ..errors import ConfigError, StoreError
from ..garbage import collector_paused, collector_rare
from ..matrix import CellIds
from ..prompts.asked import prompt_of
from ..records import Cell, ModelSpec, Prompt
from ..settings import SUITES, Sourced
from ..stats.budget_expression import Budget
from .collecting import (
    gets_prompt_as_it_is,
    group_by_model,
    model_of,
    parameter,
    parametrize_models,
    parametrize_prompts,
    parametrized_by_user,
    resolves_to_ours,
)
from .fixtures import MARKER, NAMES
from .items import CellItem, Suite, TaskItem, TaskSuite, new_suite, new_task_suite
from .marks import NO_VALUES, has_other_marks, own_marks, read_markers
from .options import any_set
from .suite_ids import deselect

if TYPE_CHECKING:
    from _pytest.nodes import Node

    from .armed import ArmedPlugin

REFUSAL = "llmci"
"""Node id of the collection error with which a parallel worker refuses what was asked for."""
T = TypeVar("T")
MANY_ITEMS = 1000
_OURS = NAMES | {"request", "pytestconfig"}
_NOT_KNOWN_YET = Prompt(id="-", text="-")
"""In the place of a prompt that a fixture of the user's will make."""
MOST_FAULTS = 5
"""Usage errors that are told before the rest is counted."""


class Planning:
    """The hooks around collecting."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._plugin = plugin
        self.faults: list[tuple[str, str]] = []
        """(test without its parameters, or "" for the session; what is wrong), for all that was collected."""
        self._cell_ids = CellIds(plugin.redactor.shown)
        self.family = 1
        """How many budgets of the selected cells are decided by a test that can err."""
        if plugin.settings.suites:
            self._settle_what_to_collect()

    def _settle_what_to_collect(self) -> None:
        """``--llmci-suite`` without paths runs only the suite; from the settings it runs beside the tests (not beside node ids)."""
        given_by_flag = self._plugin.settings.origins.get("suite", "").startswith("--")
        if given_by_flag and self._plugin.config.args_source is not pytest.Config.ArgsSource.ARGS:
            self._plugin.config.args = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize ``llm`` and ``llm_prompt`` where they are ours, before all others: a test's id begins with its model."""
        wants = [
            name for name in ("llm", "llm_prompt")
            if name in metafunc.fixturenames and resolves_to_ours(metafunc.definition, name) and not parametrized_by_user(metafunc, name)
        ]  # fmt: skip
        if not wants:
            return
        where = metafunc.definition.nodeid
        marker = self.marker(metafunc.definition)
        if "llm" in wants:
            parametrize_models(metafunc, self._or_fault(where, lambda: self._plugin.planner.models(marker, where)))
        if "llm_prompt" in wants:
            parametrize_prompts(metafunc, self._or_fault(where, lambda: self._plugin.planner.prompts_of(marker, where)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_parametrize_id(self, val: object, argname: str) -> str | None:
        """Keep a prompt that a test was parametrized with by hand out of the test's id, where its text must not be told."""
        if argname != "llm_prompt":
            return None
        try:
            prompt = prompt_of(val)  # type: ignore[arg-type]  # anything else is refused
        except ConfigError:
            return None  # said when the test runs
        withheld = self._plugin.redactor.prompt_id(prompt.shown)
        return withheld if not isinstance(val, Prompt) and withheld != prompt.id else None

    def _or_fault(self, where: str, read: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        """What could be read; else nothing, and a fault that ends the session once everything is collected."""
        try:
            return read()
        except ConfigError as error:
            self.faults.append((where, str(error)))
            return ()

    def marker(self, node: pytest.Item) -> MarkerValues:
        """What the markers of a test say; a wrong one is a fault and says nothing."""
        try:
            return read_markers(list(node.iter_markers(MARKER)))
        except ConfigError as error:
            where = _function_of(node)
            self.faults.append((where, f"{where}: {error}"))
            return MarkerValues()

    def note_file(self, path: Path, name: str) -> None:
        """A test file, so that a comparison with another revision finds the prompts in it."""
        planner = self._plugin.planner
        planner.marker_prompts.append(Sourced(os.path.relpath(path, planner.places.settings), name))

    def suite_cells(self, suite: str) -> list[Cell]:
        """The cells of a built-in suite.

        :raises ConfigError: if there is no model, or two cells would have one id.
        """
        planner = self._plugin.planner
        cells = planner.load_cells() if suite == LOAD else planner.suite_cells()
        offered = list(cells)
        try:
            self._plugin.config.hook.pytest_llmci_modify_cells(config=self._plugin.config, cells=cells)
        except Exception as error:
            raise ConfigError(f"pytest_llmci_modify_cells: {type(error).__name__}: {error}") from error
        if not all(isinstance(cell, Cell) for cell in cells) or len({cell.id for cell in cells}) < len(cells):
            raise ConfigError("pytest_llmci_modify_cells: the list must hold each cell at most once, and nothing else.")
        self._plugin.collected.note_removed(offered, cells)
        return cells

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Thousands of tests are made, and all of them stay: the garbage collector looks rarely meanwhile."""
        with collector_rare():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Add the suites' items before anything is deselected; bring each model's tests together afterwards."""
        with collector_paused():  # cells and their plans are many, and all of them stay
            for name in self._plugin.settings.suites:
                self._add_suite(session, name, items)
            self._plan_cells(items)
        self._heed_suite_ids(items)
        before = list(items)
        yield
        group_by_model(items)
        marked = () if any_set(self._plugin.config, "runxfail") else filter(_is_expected_to_fail, items)
        self._plugin.collected.select((item.nodeid for item in items), {item.nodeid for item in marked})
        self._plugin.collected.tests = sum(map(is_ours, items))
        if not self._plugin.collected.tests:
            self._plugin.collected.note_all_deselected(sum(map(is_ours, before)), self._plugin.config.option)
        self._note_models(items)
        if self._plugin.settings.shard and not self.faults:
            self._or_fault("", lambda: self._take_shard(items))
        self._settle_comparison()
        functions = {_function_of(item) for item in items} if self.faults else set()
        self.faults = [fault for fault in dict.fromkeys(self.faults) if not fault[0] or fault[0] in functions]
        if self.faults and self._plugin.controller is None:
            self._refuse_in_parallel(items)

    def _take_shard(self, items: list[pytest.Item]) -> tuple[()]:
        """Leave what is this shard's, and note what the others do."""
        from .sharding import take_shard

        self._plugin.shard = take_shard(self._plugin, items)
        return ()

    def _settle_comparison(self) -> None:
        """Read what is compared with, unless something is wrong already or nothing will run."""
        if self.faults or any_set(self._plugin.config, "collectonly", "setuponly", "setupplan"):
            return
        try:
            self._plugin.comparing.resolve(tuple(self._plugin.import_path))
        except (ConfigError, StoreError) as error:
            self._plugin.comparing.close()  # a parallel worker ends without being told that its session does
            self.faults.append(("", str(error)))

    def _heed_suite_ids(self, items: list[pytest.Item]) -> None:
        cells = [
            item for item in items if isinstance(item, TaskItem) or (isinstance(item, CellItem) and item.is_of_suite)
        ]
        if cells:  # else it is said already why there is none
            try:
                deselect(self._plugin.suite_ids, items, cells, self._plugin.config)
            except ConfigError as error:
                self.faults.append(("", str(error)))

    def _note_models(self, items: Iterable[pytest.Item]) -> None:
        """An alias must not mean one model in this test and another in that."""
        noted: ModelSpec | None = None
        for item in items:
            model = model_of(item)
            if model is not None and model is not noted:  # many stand in a row
                try:
                    self._plugin.planner.names.note(model, where := _function_of(item))
                    noted = model
                except ConfigError as error:
                    self.faults.append((where, str(error)))

    def _refuse_in_parallel(self, items: list[pytest.Item]) -> None:
        """In a parallel worker a usage error would only look like a crash; a collection error reaches the controller."""
        text = "\n".join(map(self._plugin.redactor.text, self._told()))
        items.clear()
        report = pytest.CollectReport(nodeid=REFUSAL, outcome="failed", longrepr=text, result=[])
        self._plugin.config.hook.pytest_collectreport(report=report)

    def note_cell(self, item: pytest.Item, cell: Cell) -> None:
        """Hold a cell against the others of its test.

        :raises ConfigError: if one of them is called like it and asks something else.
        """
        self._cell_ids.note(cell, _function_of(item))

    def _told(self) -> list[str]:
        """What is wrong, a line each; one slip may be that of every cell, and then the first few say it."""
        texts = [text for _, text in self.faults]
        more = len(texts) - MOST_FAULTS
        return [*texts[:MOST_FAULTS], f"... and {more} more"] if more > 0 else texts

    def _add_suite(self, session: pytest.Session, name: str, items: list[pytest.Item]) -> None:
        suite: Suite | TaskSuite = (new_suite if name in SUITES else new_task_suite)(session, name, self._plugin)
        try:
            found: list[pytest.Item] = list(suite.collect())
        except ConfigError as error:
            self.faults.append(("", str(error)))
            return
        ours = getattr(pytest.mark, MARKER)  # once: pytest looks each name up among those that are declared
        for item in found:
            item.add_marker(ours)
        items += found
        # pytest counts what collect reports hold; the cells were not collected from a file
        report = pytest.CollectReport(nodeid=suite.nodeid, outcome="passed", longrepr=None, result=list(found))
        self._plugin.config.hook.pytest_collectreport(report=report)

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
                self._note_budgets(item, self._check_bare_marker(item), ())
            return
        self._plugin.collected.models.add(model.alias)
        if isinstance(item, TaskItem):
            self._plugin.collected.add_task(item.nodeid, item.cell)
            return
        if isinstance(item, CellItem):
            if not item.is_of_suite:  # whose cells are told apart where they are made
                self.note_cell(item, item.cell)
            plan = item.plan or self._plugin.planner.suite_plan(item.cell)
            self._plugin.collected.add(item.nodeid, item.cell, plan)
            for budget in item.budgets:
                self._plugin.collected.note_file_budget(budget, met=budget in plan.budgets)
            return
        self._plan_test(item, model)

    def _plan_test(self, item: pytest.Item, model: ModelSpec) -> None:
        """A test of the user's own."""
        marker = self.marker(item)
        if marker.checks:
            self._plugin.planner.call_checks(marker, None, "the marker")
        prompt = self._prompt_of(item)
        own = read_markers(own_marks(item)) if marker is not NO_VALUES else marker
        has_result = resolves_to_ours(item, "llm_result")
        if has_result and prompt is None:
            cell = self._plugin.planner.test_cell(model, _NOT_KNOWN_YET)
            budgets = self._plugin.planner.test_plan(cell, marker).budgets
            self._plugin.planner.check_timed(own.budgets, timed=marker.timed)
            self._plugin.collected.add_late(item.nodeid, budgets)
            self._note_budgets(item, marker, budgets)
            return
        if prompt is not None:
            cell = self._plugin.planner.test_cell(model, prompt)
            if prompt.checks:
                self._plugin.planner.call_checks(marker, prompt, cell.id)
            self.note_cell(item, cell)
        if prompt is None or not has_result:
            if own.budgets and not has_result:
                raise ConfigError(
                    "marker llmci: budgets need the fixture llm_result; a single llm.generate() is not gated on time."
                )
            if own.samples is not None and not has_result:
                raise ConfigError(
                    "marker llmci: samples= needs the fixture llm_result; llm.generate() gives one answer, with the seed it is told."
                )
            self._note_budgets(item, marker, ())
            return
        plan = self._plugin.planner.test_plan(cell, marker)
        self._plugin.planner.check_timed(own.budgets, timed=marker.timed)
        self._plugin.collected.add(item.nodeid, cell, plan)
        self._note_budgets(item, marker, plan.budgets)

    def _prompt_of(self, item: pytest.Item) -> Prompt | None:
        """The prompt that a test will get; None if it has none, a fixture of the user's makes it, or it is none."""
        value = parameter(item, "llm_prompt")
        if value is None or not gets_prompt_as_it_is(item):
            return None
        if isinstance(value, Prompt):
            return value
        try:
            return prompt_of(value, self._plugin.redactor.prompt_id, "llm_prompt")
        except ConfigError:
            return None  # said when the test runs

    def _note_budgets(self, item: pytest.Item, marker: MarkerValues, held: Sequence[Budget]) -> None:
        """Remember each budget that a marker of the test, its class or its module asks for, and whether this test is held to it.

        :param marker: what all of them say.
        """
        if not marker.budgets:
            return
        for node, mark in item.iter_markers_with_node(MARKER):
            for text in read_markers([mark]).budgets:
                met = self._plugin.planner.budget(text) in held
                self._plugin.collected.note_marker_budget(text, _function_of(node), met=met)

    def _check_bare_marker(self, item: pytest.Item) -> MarkerValues:
        """A marker that does nothing is a slip where it stands on the test itself; one of its class or module is for other tests.

        :returns: what all of them say.
        """
        marker = self.marker(item)
        own = read_markers(own_marks(item))
        asked = [name for name in ("models", "prompts", "budgets", "checks") if getattr(own, name)]
        if asked and not any(resolves_to_ours(item, name) for name in ("llm", "llm_prompt", "llm_result", "llm_open")):
            raise ConfigError(
                f"marker llmci: {asked[0]}= has no effect: the test uses none of the fixtures llm, llm_prompt, llm_result."
            )
        return marker

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Nothing is loaded before everything that can be known to be wrong has been said."""
        if self.faults and self._plugin.controller is not None:
            raise pytest.UsageError(*map(self._plugin.redactor.text, self._told()))
        self._plugin.collected.note_left_out(self._plugin.config)
        self._plugin.collected.note_budgets(self._plugin.planner.budgets, self._plugin.planner.specs)
        collected = self._plugin.collected
        self.family = max(1, collected.uncertain_budgets() + collected.elsewhere_budgets)
        if len(session.items) >= MANY_ITEMS:
            _set_aside()


def _set_aside() -> None:
    """Keep the garbage collector from walking thousands of collected items again and again: a tenth of the time."""
    gc.collect(0)  # what is older was looked at while it was collected, and walking it again takes as long as 300 tests
    gc.freeze()


def keeps_nothing(item: pytest.Item) -> bool:
    """Whether a test has no fixtures but ours, and no class or ``unittest`` that sets something up: nothing outlives it."""
    if isinstance(item, CellItem):
        return True
    return type(item) is pytest.Function and item.cls is None and _OURS.issuperset(item.fixturenames)


def _is_expected_to_fail(item: pytest.Item) -> bool:
    """Whether the test is marked xfail; a condition that is a text is known when it runs, so it counts as not fulfilled."""
    for mark in item.iter_markers("xfail") if has_other_marks(item) else ():
        conditions = (mark.kwargs["condition"],) if "condition" in mark.kwargs else mark.args
        if not conditions or any(condition for condition in conditions if not isinstance(condition, str)):
            return True
    return False


def is_ours(item: pytest.Item) -> bool:
    """Whether a test asks models."""
    return getattr(item, "llmci_model", None) is not None or item.get_closest_marker(MARKER) is not None


def _function_of(node: Node) -> str:
    """Node id without parameters."""
    return node.nodeid.partition("[")[0] if "::" in node.nodeid else node.nodeid
