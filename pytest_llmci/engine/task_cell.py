"""Model x benchmark task: the tests that a session asks for, and the cells that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, UnknownNameError
from ..records import ModelSpec
from ..settings import Settings
from ..stats.budget_expression import Budget, of_tasks

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


def session_tests(settings: Settings, base_of: Callable[[str], Path]) -> tuple[TaskTest, ...]:
    """What the benchmark tasks of a session ask, a test each.

    :param base_of: origin of a setting -> folder that its relative path starts from.
    :raises ConfigError: if there is no such task or file, or a file is malformed.
    """
    from ..tasks.loading import parse_asked, task_tests

    data = settings.task_data
    if data is not None:
        data = base_of(settings.origins.get("task_data", "")) / data
    return tuple(
        test
        for asked in settings.tasks
        for test in task_tests(
            parse_asked(asked.text, asked.origin), base_of(asked.origin), data=data, limit=settings.limit
        )
    )


def check_budgets(budgets: Iterable[Budget], tests: Iterable[TaskTest]) -> None:
    """Refuse a budget on a benchmark that the session does not run.

    :param budgets: on scores of benchmarks.
    :raises ConfigError: naming the benchmarks that run.
    """
    known = {name for test in tests for name in (test.suite, test.name)}
    for budget in budgets:
        if budget.statistic in ("mean", *known):
            continue
        where = f"{budget.origin}: budget '{budget.text}'"
        if not known:
            raise ConfigError(
                f"{where}: no benchmark task runs; name one, --llmci-suite={budget.statistic}, or take the budget away."
            )
        raise UnknownNameError.build(where, "benchmark task", budget.statistic, known)


def task_cells(
    specs: Iterable[ModelSpec], tests: Sequence[TaskTest], suite: str, budgets: Sequence[Budget]
) -> list[TaskCell]:  # fmt: skip
    """What the tests of a benchmark ask, a model's together, with the budgets that each test alone decides."""
    wanted = [test for test in tests if test.suite == suite]
    return [
        TaskCell(
            id=f"{spec.alias}-{test.name}", model=spec, test=test, budgets=_own_budgets(spec, test, wanted, budgets)
        )
        for spec in specs
        for test in wanted
    ]


def _own_budgets(
    spec: ModelSpec, test: TaskTest, of_suite: Sequence[TaskTest], budgets: Sequence[Budget]
) -> tuple[Budget, ...]:  # fmt: skip
    """Those on the test's subject, or on a benchmark that has one test."""
    names = {test.name, *([test.suite] if len(of_suite) == 1 else [])}
    return tuple(budget for budget in of_tasks(budgets, spec.alias) if budget.statistic in names)
