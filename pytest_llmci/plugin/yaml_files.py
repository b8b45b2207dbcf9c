"""``test_*.llm.yaml`` as pytest items: one item a cell, of the same kind as a suite's."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ExceptionInfo, TerminalRepr

from ..testfiles.names import is_test_file, stem
from .fixtures import MARKER
from .items import CellItem
from .options import FLAG_HINT

if TYPE_CHECKING:
    from ..engine.testfile import PlannedTest
    from ..testfiles.nodes import Faults
    from ..testfiles.read import Mark

MOST_FAULTS = 20
"""Faults of one file that are told before the rest is counted."""


class FileFaults(Exception):
    """What is wrong with a test file, a line each."""


class YamlFile(pytest.File):
    """A test file. Where no model may be asked anything, it is not even read."""

    def collect(self) -> Iterable[pytest.Item]:
        """One item a cell; one for the whole file in a session that measures nothing."""
        from . import ARMED

        plugin = self.config.stash.get(ARMED, None)
        if plugin is None:
            item: NotMeasured = NotMeasured.from_parent(self, name=stem(self.path.name))
            item.add_marker(MARKER)
            item.add_marker(pytest.mark.skip(reason=f"needs a language model: run with {FLAG_HINT}"))
            return [item]
        return self._collect_armed(plugin)

    def _collect_armed(self, plugin: Any) -> list[pytest.Item]:
        from ..engine.testfile import read_file
        from ..testfiles.nodes import Faults

        faults = Faults()
        tests = read_file(self.path, self.nodeid, plugin.planner, faults, make_id=plugin.redactor.prompt_id)
        items = [item for test in tests for item in self._items(test, faults)]
        if faults:
            raise FileFaults("\n".join(map(plugin.redactor.text, _told(faults.lines()))))
        plugin.planning.note_file(self.path, self.nodeid)
        plugin.planning.faults += [(f"{self.nodeid}::{test.name}", test.missing) for test in tests if test.missing]
        return items

    def _items(self, test: PlannedTest, faults: Faults) -> list[pytest.Item]:
        # With the whole id: pytest takes the brackets in a name alone for a part of the name.
        named: list[pytest.Item] = [
            YamlItem.from_parent(
                self, name=(name := f"{test.name}[{cell.id}]"), nodeid=f"{self.nodeid}::{name}", cell=cell, plan=plan,
                budgets=test.budgets, line=test.line,
            )
            for cell, plan in test.cells
        ]  # fmt: skip
        if test.missing:
            name = f"{test.name}[NOTSET]"
            named = [NotMeasured.from_parent(self, name=name, nodeid=f"{self.nodeid}::{name}")]
        markers: list[str | pytest.MarkDecorator] = [MARKER]
        markers += [found for mark in test.marks if (found := _marker(mark, faults, self.path)) is not None]
        for item in named:
            for marker in markers:
                item.add_marker(marker)
        return named

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        """The faults alone; a traceback where the tool is at fault."""
        if isinstance(excinfo.value, FileFaults):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class YamlItem(CellItem):
    """Measures one cell of a test file and judges it."""

    def __init__(self, *, line: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.line = line

    @property
    def location(self) -> tuple[str, int | None, str]:
        """The file and the line of the test in it."""
        return self.nodeid.partition("::")[0], self.line - 1, self.name

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """The same, for pytest."""
        return self.path, self.line - 1, self.name


class NotMeasured(pytest.Item):
    """A whole file in a session that measures nothing; or a test for which the session names no model or no prompts, which a
    usage error tells before it would run."""

    def runtest(self) -> None:
        """Nothing."""

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """The file."""
        return self.path, 0, self.name


def is_wanted(path: Path, parent: pytest.Collector) -> bool:
    """Whether its name is that of a test file, or it was named on the command line."""
    return is_test_file(path.name) or parent.session.isinitpath(path)


def collect_file(path: Path, parent: pytest.Collector) -> YamlFile:
    """The collector of a test file."""
    found: YamlFile = YamlFile.from_parent(parent, path=path)
    return found


def _told(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_FAULTS
    return [*lines[:MOST_FAULTS], f"... and {more} more"] if more > 0 else lines


def _marker(mark: Mark, faults: Faults, path: Path) -> pytest.MarkDecorator | None:
    """The marker of pytest's; None, and a fault, where it must be registered and is not."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found: pytest.MarkDecorator = getattr(pytest.mark, mark.name)
        for each in told:  # one that is not registered: its place is the file's, and not this line
            warnings.warn_explicit(each.message, each.category, str(path), mark.place.line)
    except pytest.fail.Exception as error:
        faults.add(mark.place, str(error))
        return None
    return found if mark.reason is None else found(reason=mark.reason)
