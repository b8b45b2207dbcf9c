"""What was collected, so that what is missing in the end can be told from what was never asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine.schedule import CellPlan
from ..engine.session import matching
from ..records import Cell, ModelSpec
from ..stats.budget_expression import Budget


@dataclass(slots=True)
class Collected:
    """Cells by the node id of their test, before and after deselection."""

    cells: dict[str, tuple[Cell, CellPlan]] = field(default_factory=dict)
    selected: dict[str, tuple[Cell, CellPlan]] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    """Aliases that any test uses, with or without a measured cell."""
    deselected: int = 0
    unused_models: list[str] = field(default_factory=list)
    unmatched_budgets: list[str] = field(default_factory=list)

    def add(self, nodeid: str, cell: Cell, plan: CellPlan) -> None:
        """A test that measures a cell."""
        self.cells[nodeid] = (cell, plan)

    def select(self, nodeids: Iterable[str]) -> None:
        """The tests that will run."""
        self.selected = {nodeid: self.cells[nodeid] for nodeid in nodeids if nodeid in self.cells}

    def note_budgets(self, budgets: Sequence[Budget], specs: Sequence[ModelSpec]) -> None:
        """Work out what no test will ever meet."""
        aliases = {cell.model.alias for cell, _ in self.cells.values()}
        self.unused_models = [spec.alias for spec in specs if spec.alias not in self.models]
        self.unmatched_budgets = [
            f"{budget.text} (from {budget.origin})"
            for budget in budgets
            if not any(matching([budget], alias) for alias in aliases)
        ]

    def uncertain_budgets(self) -> int:
        """How many budgets of selected cells are decided by a test that can err."""
        return sum(1 for _, plan in self.selected.values() for budget in plan.budgets if budget.statistical)

    def to_json(self) -> dict[str, Any]:
        """What the controller of a parallel session needs to know of it."""
        return {
            "cells": len(self.cells), "selected": len(self.selected), "unused_models": self.unused_models,
            "unmatched_budgets": self.unmatched_budgets, "selected_models": sorted({c.model.alias for c, _ in self.selected.values()}),
        }  # fmt: skip
