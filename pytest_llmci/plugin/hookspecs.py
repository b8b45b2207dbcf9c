"""The hooks that pytest-llmci calls. Records are frozen; each hook says when and in which process it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..engine.reports.report import SessionReport
    from ..records import Cell, LogRecord
    from ..registry import Registry


@pytest.hookspec(historic=True)
def pytest_llmci_register(registry: Registry) -> None:
    """Add backends, instruments, checks, sinks and plots: ``registry.add("backend", "mine", "package.module:Class")``.

    Called once in every process of an armed session, before settings are read. Implement it in an installed plugin or in the
    root ``conftest.py``: the controller of a parallel session sees no other. The module that a target names is imported where
    it is used, backends and instruments in the model's process.
    """


@pytest.hookspec
def pytest_llmci_modify_cells(config: pytest.Config, cells: list[Cell]) -> None:
    """Filter or reorder, in place, the cells of a built-in suite before they become items.

    Called while collecting, in every process that runs tests. It must do the same in each of them.
    """


@pytest.hookspec
def pytest_llmci_environment(config: pytest.Config) -> dict[str, str] | None:
    """Further facts about this machine or build, stored in the header of the log.

    Called once on the controller before the first test. Keys must not begin with those that are there already.
    """


@pytest.hookspec
def pytest_llmci_record(config: pytest.Config, record: LogRecord) -> None:
    """A record has been written to the log: a worker's start, a block of rounds, a verdict, a gate.

    Called on the controller. Must not raise: a failing observer does not fail a build, it warns.
    """


@pytest.hookspec
def pytest_llmci_report(config: pytest.Config, report: SessionReport) -> None:
    """The session is over and its run folder is written.

    Called once on the controller, before the terminal summary. Must not raise, as above.
    """
