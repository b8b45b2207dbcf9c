"""Model x benchmark task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..records import ModelSpec
from ..stats.budget_expression import Budget

if TYPE_CHECKING:
    from ..tasks.loading import TaskTest


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCell:
    """Model x task: what one test asks."""

    id: str
    """``<alias>-<task>``."""
    model: ModelSpec
    test: TaskTest
    budgets: tuple[Budget, ...] = ()
    """On this task alone."""
