"""What a long session keeps is set aside from the garbage collector; what may still be dropped is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_llmci import garbage
from pytest_llmci.plugin import planning, xdist
from pytest_llmci.plugin import running as module
from pytest_llmci.plugin.items import CellItem
from pytest_llmci.plugin.planning import Planning
from pytest_llmci.plugin.running import Running


def collector(told: list[str]) -> Any:
    """Notes what it is told."""
    return SimpleNamespace(
        collect=lambda generation=2: told.append(f"collect {generation}"), freeze=lambda: told.append("freeze"),
        get_threshold=lambda: (700, 10, 10), set_threshold=lambda *counts: told.append(f"every {counts}"),
    )  # fmt: skip


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the collector is told to do, which this process's own does not hear."""
    told: list[str] = []
    fake = collector(told)
    monkeypatch.setattr(module, "gc", fake)
    monkeypatch.setattr(planning, "gc", fake)
    monkeypatch.setattr(module, "MANY_ITEMS", 3)
    monkeypatch.setattr(planning, "MANY_ITEMS", 3)
    return told


def collected(items: list[object]) -> None:
    """What follows when these were collected."""
    noted = SimpleNamespace(
        note_left_out=lambda config: None, note_budgets=lambda budgets, specs: None, uncertain_budgets=lambda: 0, elsewhere_budgets=0
    )  # fmt: skip
    plugin = SimpleNamespace(collected=noted, config=None, planner=SimpleNamespace(budgets=[], specs=[]))
    fake = SimpleNamespace(faults=[], _plugin=plugin, family=0)
    Planning.pytest_collection_finish(cast("Any", fake), cast("Any", SimpleNamespace(items=items)))


@pytest.mark.parametrize(("items", "told"), [(2, []), (3, ["collect 0", "freeze"])])
def test_what_was_collected_is_set_aside_without_being_walked_again(
    frozen: list[str], items: int, told: list[str]
) -> None:
    collected([object()] * items)
    assert frozen == told


def ran(cells: int, *, with_functions: bool) -> Running:
    """After that many tests."""
    item: Any = object() if with_functions else CellItem.__new__(CellItem)
    running = Running(cast("Any", None))
    running.prepare(cast("Any", SimpleNamespace(items=[item])))
    running._unsettled = cells
    return running


@pytest.mark.parametrize(("cells", "told"), [(2, []), (3, ["collect 2", "freeze"])])
def test_what_thousands_of_cells_left_is_set_aside_once(frozen: list[str], cells: int, told: list[str]) -> None:
    running = ran(cells, with_functions=False)
    running.settle()
    running.settle()
    assert frozen == told  # collected first: what is garbage must not be kept


@pytest.mark.parametrize(("with_functions", "cells"), [(False, 3), (False, 2), (True, 3)])
def test_it_works_rarely_while_thousands_of_cells_run(frozen: list[str], with_functions: bool, cells: int) -> None:
    item: Any = object() if with_functions else CellItem.__new__(CellItem)
    running = Running(cast("Any", None))
    running.prepare(cast("Any", SimpleNamespace(items=[item] * cells)))
    running.relax()
    running.relax()
    rarely = ["every (50000, 10, 10)", "every (700, 10, 10)"]
    assert [told for told in frozen if "every" in told] == (rarely if cells == 3 and not with_functions else [])


def test_not_beside_a_users_own_tests(frozen: list[str]) -> None:
    ran(5, with_functions=True).settle()
    assert frozen == []


def test_fixtures_may_hold_things_that_they_drop_later(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import unittest
        import pytest

        @pytest.fixture
        def mine():
            pass

        def test_with_ours(llm_open, llmci_session): pass
        def test_with_mine(mine, llmci_session): pass

        class TestSetUp:
            def setup_class(self): pass
            def test_method(self): pass

        class Old(unittest.TestCase):
            def test_old(self): pass
        """
    )
    items, _ = pytester.inline_genitems("-p", "no:randomly")
    assert [item.name for item in items if planning.keeps_nothing(item)] == ["test_with_ours"]


@pytest.mark.parametrize(("tests", "set_aside"), [(2, 0), (3, 1), (7, 1)])
def test_so_does_what_parallel_workers_sent(monkeypatch: pytest.MonkeyPatch, tests: int, set_aside: int) -> None:
    told: list[str] = []
    monkeypatch.setattr(xdist, "MANY_ITEMS", 3)
    monkeypatch.setattr(garbage, "gc", collector(told))
    session = xdist.ParallelSession(cast("Any", None), cast("Any", SimpleNamespace(controller=None)))
    session.pytest_xdist_node_collection_finished([f"test {number}" for number in range(tests)])
    for _ in range(5):
        session.pytest_runtest_logreport()
    session.pytest_sessionfinish()
    rarely = ["every (50000, 10, 10)", "collect 0", "freeze"] if tests >= 3 else []
    assert told == [*rarely, *["collect 2", "freeze"] * set_aside, *(["every (700, 10, 10)"] if rarely else [])]


@pytest.mark.parametrize(("before", "meanwhile"), [((700, 10, 10), 50_000), ((0, 10, 10), 0), ((90_000, 5, 5), 90_000)])
def test_it_works_rarely_while_tests_are_collected(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int, int], meanwhile: int
) -> None:
    told: list[tuple[int, ...]] = []
    fake = SimpleNamespace(get_threshold=lambda: before, set_threshold=lambda *counts: told.append(counts))
    monkeypatch.setattr(garbage, "gc", fake)
    collecting = Planning.pytest_collection(cast("Any", None))
    next(collecting)
    assert told == [(meanwhile, *before[1:])], "a collector that is switched off stays so"
    with pytest.raises(KeyError):
        collecting.throw(KeyError())
    assert told[1:] == [before]
