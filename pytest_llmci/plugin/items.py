"""The built-in suites as pytest items: one item a cell, without a file of the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ExceptionInfo, TerminalRepr

from ..records import Cell
from . import ARMED

if TYPE_CHECKING:
    from ..engine.schedule import CellPlan
    from ..engine.task_cell import TaskCell
    from ..stats.budget_expression import Budget
    from .armed import ArmedPlugin


class Suite(pytest.Collector):
    """A built-in suite."""

    def __init__(self, *, plugin: ArmedPlugin, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plugin = plugin

    def collect(self) -> Iterable[CellItem]:
        """One item a cell."""
        return [
            CellItem.from_parent(self, name=cell.id, cell=cell) for cell in self.plugin.planning.suite_cells(self.name)
        ]


class CellItem(pytest.Item):
    """Measures one cell and judges it."""

    _told_of: object = None
    """What ``_told`` was made of: pytest's own form of the id."""
    _told = ""

    def __init__(
        self, *, cell: Cell, plan: CellPlan | None = None, budgets: Sequence[Budget] = (), **kwargs: Any
    ) -> None:  # fmt: skip
        """:param plan: how it is measured; a suite's cells are planned alike, by the session's settings.

        :param budgets: those that the item's own file asks for, whether this cell has to meet them or not.
        """
        super().__init__(**kwargs)
        self.cell = cell
        self.plan = plan
        self.budgets = budgets
        self.llmci_model = cell.model

    @property
    def nodeid(self) -> str:
        """Asked for a dozen times a cell; pytest puts it together each time."""
        given = getattr(self, "_id", None)
        if given is None or given is not self._told_of:
            self._told_of, self._told = given, super().nodeid
        return self._told

    @property
    def plugin(self) -> ArmedPlugin:
        """The armed plugin."""
        return self.config.stash[ARMED]

    @property
    def is_of_suite(self) -> bool:
        """Whether it belongs to a built-in suite, and so to no file."""
        return isinstance(self.parent, Suite)

    def runtest(self) -> None:
        """Measure, judge, and raise what the cell failed with."""
        self.plugin.running.run_cell(self, self.cell)

    @property
    def location(self) -> tuple[str, int | None, str]:
        """The suite's name in place of a file."""
        nodeid = self.nodeid
        return nodeid.partition("::")[0], None, nodeid

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands: nowhere in the user's files."""
        return self.parent.name if self.parent else "", 0, self.nodeid  # a line, for pytest's report of a skipped test

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """The explanation alone where the model failed; a traceback where the tool did."""
        from .failures import failure_repr

        return failure_repr(self, excinfo.value) or super().repr_failure(excinfo, style)


class TaskSuite(pytest.Collector):
    """A benchmark."""

    def __init__(self, *, plugin: ArmedPlugin, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plugin = plugin

    def collect(self) -> Iterable[TaskItem]:
        """One item a model, and a subject where the benchmark has some."""
        for cell in self.plugin.planner.task_cells(self.name):
            name = f"{cell.model.alias}-{cell.test.subject}" if cell.test.subject else cell.model.alias
            yield TaskItem.from_parent(self, name=name, cell=cell)


class TaskItem(pytest.Item):
    """Asks one model all questions of a benchmark task and judges the answers."""

    def __init__(self, *, cell: TaskCell, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell = cell
        self.llmci_model = cell.model

    def runtest(self) -> None:
        """Ask, count, judge, and raise what the task failed with."""
        parent = self.parent
        assert isinstance(parent, TaskSuite)
        parent.plugin.running.run_task(self, self.cell)

    @property
    def location(self) -> tuple[str, int | None, str]:
        """The benchmark's name in place of a file."""
        return self.nodeid.partition("::")[0], None, self.nodeid

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands: nowhere in the user's files."""
        return self.parent.name if self.parent else "", 0, self.nodeid

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """The explanation alone where the model failed; a traceback where the tool did."""
        from .failures import failure_repr

        return failure_repr(self, excinfo.value) or super().repr_failure(excinfo, style)


def new_task_suite(session: pytest.Session, name: str, plugin: ArmedPlugin) -> TaskSuite:
    """The collector of a benchmark; its node id is the benchmark's name."""
    suite: TaskSuite = TaskSuite.from_parent(session, name=name, nodeid=name, plugin=plugin)
    return suite


def new_suite(session: pytest.Session, name: str, plugin: ArmedPlugin) -> Suite:
    """The collector of a suite; its node id is the suite's name."""
    suite: Suite = Suite.from_parent(session, name=name, nodeid=name, plugin=plugin)
    return suite
