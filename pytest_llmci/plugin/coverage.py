"""What was collected, so that what is missing in the end can be told from what was never asked for."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from ..engine.schedule import CellPlan
from ..records import Cell, ModelSpec, to_json
from ..stats.budget_expression import Budget, of_tasks

if TYPE_CHECKING:
    from ..engine.task_cell import TaskCell

COLLECTED_ATTRIBUTE = "llmci_collected"
"""Under which a parallel worker sends what it collected: on its first report, and when it ends."""

USES_ATTRIBUTE = "llmci_uses"
"""Under which it sends, on a report and when it ends, what was used since the one before: profiles and requests."""

VERDICT_ATTRIBUTE = "llmci_verdict"
"""On a report: ``inconclusive``, where the test was."""


@dataclass(slots=True)
class Collected:
    """Cells by the node id of their test, before and after deselection."""

    cells: dict[str, tuple[Cell, CellPlan]] = field(default_factory=dict)
    selected: dict[str, tuple[Cell, CellPlan]] = field(default_factory=dict)
    late: dict[str, tuple[Budget, ...]] = field(default_factory=dict)
    """Node id of a test whose fixtures change its prompt, so that its cell is known when it runs -> the budgets that it has to meet."""
    selected_late: list[str] = field(default_factory=list)
    """Of these, the ones that will run."""
    tasks: dict[str, TaskCell] = field(default_factory=dict)
    """Node id of a test -> the benchmark task that it asks."""
    selected_tasks: list[str] = field(default_factory=list)
    """Node ids of those that will run."""
    elsewhere: int = 0
    """Cells and tasks that other shards measure: judged together with those of this one."""
    elsewhere_budgets: int = 0
    """How many of their budgets are decided by a test that can err, and how many of these cells by their samples."""
    idle_shard: str = ""
    """Set where every model is another shard's, and there is nothing to measure here: how many models and shards there are."""
    models: set[str] = field(default_factory=set)
    """Aliases that any test uses, with or without a measured cell."""
    removed: dict[str, int] = field(default_factory=dict)
    """Alias -> how many of its cells ``pytest_llmci_modify_cells`` took out of the suite."""
    tests: int = 0
    """Selected tests of ours, with or without a measured cell."""
    all_deselected: int = 0
    """Of how many tests of ours not one was selected; 0 where any is."""
    deselected_by: list[str] = field(default_factory=list)
    """The options of pytest's that select, as they were given."""
    marker_budgets: dict[tuple[str, str], bool] = field(default_factory=dict)
    """(budget, test or class or module whose marker asks for it) -> whether any cell has to meet it."""
    file_budgets: dict[tuple[str, str], bool] = field(default_factory=dict)
    """(budget, line of the test file that asks for it) -> the same."""
    left_out_by: list[str] = field(default_factory=list)
    """What kept pytest from collecting tests at all, so that nobody knows which models and budgets they are for."""
    unused_models: list[str] = field(default_factory=list)
    unmatched_budgets: list[str] = field(default_factory=list)
    lost_cells: list[str] = field(default_factory=list)
    """What a baseline has and no test measures any more, a sentence a baseline."""
    tells_prompts: bool = False
    """Whether the controller needs the rows of the prompts, as for a baseline."""

    def add(self, nodeid: str, cell: Cell, plan: CellPlan) -> None:
        """A test that measures a cell."""
        self.cells[nodeid] = (cell, plan)

    def add_late(self, nodeid: str, budgets: Iterable[Budget]) -> None:
        """A test that will measure a cell that is not known yet."""
        self.late[nodeid] = tuple(budgets)

    def add_task(self, nodeid: str, cell: TaskCell) -> None:
        """A test that asks a benchmark task."""
        self.tasks[nodeid] = cell

    def select(self, nodeids: Iterable[str], expected_to_fail: Collection[str] = ()) -> None:
        """The tests that will run, and those of them that are marked xfail."""
        nodeids = list(nodeids)
        self.selected_tasks = [nodeid for nodeid in nodeids if nodeid in self.tasks]
        self.selected_late = [nodeid for nodeid in nodeids if nodeid in self.late]
        self.selected = {nodeid: self.cells[nodeid] for nodeid in nodeids if nodeid in self.cells}
        for nodeid in self.selected.keys() & set(expected_to_fail):
            cell, plan = self.selected[nodeid]
            self.selected[nodeid] = (cell, replace(plan, expected_to_fail=True))

    def note_removed(self, offered: Iterable[Cell], kept: Iterable[Cell]) -> None:
        """What the hook made of a suite's cells."""
        counts = Counter(cell.model.alias for cell in offered)
        counts.subtract(cell.model.alias for cell in kept)
        self.removed = {alias: count for alias, count in counts.items() if count > 0}

    def note_all_deselected(self, count: int, option: argparse.Namespace) -> None:
        """Not one test of ours was left, and what may have done it."""
        self.all_deselected = count
        self.deselected_by = [
            *([f"-k {shlex.quote(option.keyword)}"] if option.keyword else []),
            *([f"-m {shlex.quote(option.markexpr)}"] if option.markexpr else []),
            *(["--lf"] if getattr(option, "lf", False) else []),
            *(["--deselect"] if option.deselect else []),
        ]

    def note_left_out(self, config: pytest.Config) -> None:
        """Look for what selects while pytest collects; ``-k``, ``-m`` and ``--deselect`` take away what was collected."""
        skips_files = "lfplugin-collskip"  # pytest registers it once --lf has found a file with a known failure
        self.left_out_by = [
            *(["node ids"] if any("::" in str(argument) for argument in config.args) else []),
            *(["--lf"] if config.pluginmanager.hasplugin(skips_files) else []),
        ]

    def note_marker_budget(self, text: str, place: str, *, met: bool) -> None:
        """A budget of a marker that stands there, as one of its tests sees it."""
        self.marker_budgets[text, place] = met or self.marker_budgets.get((text, place), False)

    def note_file_budget(self, budget: Budget, *, met: bool) -> None:
        """A budget of a test file, as one of its cells sees it."""
        key = budget.text, budget.origin
        self.file_budgets[key] = met or self.file_budgets.get(key, False)

    def note_budgets(self, budgets: Sequence[Budget], specs: Sequence[ModelSpec]) -> None:
        """Work out what no test will ever meet."""
        held = {id(budget) for _, plan in self.cells.values() for budget in plan.budgets}
        held |= {id(budget) for late in self.late.values() for budget in late}
        held |= {id(budget) for cell in self.tasks.values() for budget in of_tasks(budgets, cell.model.alias)}
        self.unused_models = [spec.alias for spec in specs if spec.alias not in self.models]
        self.unmatched_budgets = [
            *(
                f"{budget.text} (from {budget.origin}{_way_out(budget)})"
                for budget in budgets
                if id(budget) not in held
            ),
            *(f"{text} (from the marker of {place})" for (text, place), met in self.marker_budgets.items() if not met),
            *(f"{text} (from {place})" for (text, place), met in self.file_budgets.items() if not met),
        ]

    def uncertain_budgets(self) -> int:
        """How many budgets of selected cells are decided by a test that can err, and how many cells by their samples."""
        plans = [plan for _, plan in self.selected.values()]
        budgets = [budget for plan in plans for budget in plan.budgets]
        budgets += [budget for nodeid in self.selected_late for budget in self.late[nodeid]]
        return sum(budget.statistical for budget in budgets) + sum(plan.samples > 0 for plan in plans)

    def rows(self) -> list[list[str]]:
        """Node id, cell, model, prompt id and task of every test that must leave a row, whatever becomes of its process."""
        cells = [[nodeid, cell.id, cell.model.alias, cell.prompt.id, ""] for nodeid, (cell, _) in self.selected.items()]
        tasks = [(nodeid, self.tasks[nodeid]) for nodeid in self.selected_tasks]
        return cells + [[nodeid, cell.id, cell.model.alias, cell.test.name, cell.test.name] for nodeid, cell in tasks]

    def to_json(self) -> dict[str, Any]:
        """What the controller of a parallel session needs to know of it."""
        rows = list(dict.fromkeys(cell.prompt for cell, _ in self.cells.values())) if self.tells_prompts else []
        return {
            "prompts": [to_json(row) for row in rows],
            "cells": len(self.cells), "selected": len(self.selected), "tests": self.tests, "removed": self.removed,
            "all_deselected": self.all_deselected, "deselected_by": self.deselected_by, "left_out_by": self.left_out_by,
            "unused_models": self.unused_models, "lost_cells": self.lost_cells,
            "unmatched_budgets": self.unmatched_budgets, "selected_models": sorted(
                {c.model.alias for c, _ in self.selected.values()} | {self.tasks[nodeid].model.alias for nodeid in self.selected_tasks}
            ),
            "tasks": len(self.tasks), "selected_tasks": len(self.selected_tasks), "idle_shard": self.idle_shard,
        }  # fmt: skip


def _way_out(budget: Budget) -> str:
    """How a session whose cells a budget of the settings is not meant for does without."""
    place, _, name = budget.origin.rpartition(" ")
    if place.endswith("[tool.llmci]"):
        name = f"llmci_{name}"
    return f", all of which -o {name}= leaves out" if place and name.startswith("llmci_") else ""
