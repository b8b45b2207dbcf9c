from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.plugin.holding import (
    ENDED,
    LONGEST_S,
    SHORT_S,
    Ends,
    Held,
    Holding,
    let_ends_wait,
    may_have_waited,
    may_wait,
    unpacked,
)
from pytest_llmci.plugin.items import CellItem


def held(name: str, start: float = 100.0, duration: float = 0.001) -> Held:
    return Held(f"inference::{name}", start, duration)


def test_what_waits_comes_out_as_it_went_in() -> None:
    holding = Holding()
    assert holding.keep(held("a-one"))
    assert holding.keep(held("a-two", 100.001))
    carrier = held("a-three", 100.002).report(worker_id="gw1", testrun_uid="uid")
    holding.hand_to(carrier)
    first, second = unpacked(carrier)
    assert not [*unpacked(carrier)], "it lets go of them"
    assert (first.nodeid, second.nodeid) == ("inference::a-one", "inference::a-two")
    assert (first.when, first.outcome, first.longrepr, first.sections) == ("call", "passed", None, [])
    assert (first.start, first.duration, first.stop) == (100.0, 0.001, 100.001)
    assert first.location == ("inference", None, "inference::a-one")
    assert set(first.keywords) == {"a-one", "llmci"}
    assert first.__dict__["worker_id"] == "gw1"
    empty = held("a-four").report()
    holding.hand_to(empty)
    assert not [*unpacked(empty)]


def test_a_long_cell_is_told_of_at_once_and_nothing_waits_long() -> None:
    holding = Holding()
    assert not holding.keep(held("a", duration=SHORT_S * 1.01))
    assert holding.keep(held("a", duration=SHORT_S))
    assert holding.keep(held("b", 100 + LONGEST_S - 0.002))
    assert not holding.keep(held("c", 100 + LONGEST_S))


def test_at_the_end_the_last_one_takes_the_others_along() -> None:
    holding = Holding()
    assert holding.take_last("inference::a") is None
    assert holding.keep(held("a"))
    assert holding.keep(held("b"))
    assert holding.take_last("inference::c") is None, "pytest-xdist takes the report of the present test alone"
    last = holding.take_last("inference::b")
    assert last is not None
    assert [each.nodeid for each in (*unpacked(last), last)] == ["inference::a", "inference::b"]


class Item(CellItem):
    nodeid = "inference::a-one"


def cell_item(alias: str, **differs: object) -> Any:
    item: Any = Item.__new__(Item)
    item.name = "a-one"
    item.cell, item.user_properties = SimpleNamespace(model=SimpleNamespace(alias=alias)), []
    for name, value in differs.items():
        setattr(item, name, value)
    return item


@pytest.mark.parametrize(
    ("item", "following", "may"),
    [
        (cell_item("a"), cell_item("a"), True),
        (cell_item("a"), cell_item("b"), False),
        (cell_item("a"), None, False),
        (cell_item("a"), SimpleNamespace(), False),
        (cell_item("a", user_properties=[("key", "value")]), cell_item("a"), False),
        (cell_item("a", name="another"), cell_item("a"), False),
    ],
)
def test_only_what_says_no_more_than_passed_waits_for_its_models_next_cell(
    item: Any, following: Any, may: bool
) -> None:
    assert may_wait(item, following) is may


def test_whose_reports_waited_is_known_when_the_worker_is_gone(tmp_path: Path) -> None:
    spool = tmp_path / "gw0-1.jsonl"
    assert may_have_waited(spool) == frozenset()
    holding = Holding()
    assert all(holding.note(test, spool) for test in ("inference::a-one", "inference::a-two", "caf\u00e9.yaml::b"))
    assert may_have_waited(spool) == {"inference", "caf\u00e9.yaml"}
    assert len(spool.with_suffix(".waits").read_text().splitlines()) == 2
    assert not holding.note("other::a", tmp_path / "missing" / "gw0-1.jsonl"), (
        "what the controller cannot know does not wait"
    )
    spool.with_suffix(".waits").write_text("half of a li")
    assert may_have_waited(spool) == frozenset()


class WorkerInteractor:
    """As much of pytest-xdist's as is used; its name counts."""

    def __init__(self, *queue: int) -> None:
        self.session = SimpleNamespace(items=[SimpleNamespace(nodeid=f"inference::{index}") for index in range(9)])
        self.queue = deque(queue)
        self.torun = SimpleNamespace(lock=lambda: nullcontext(self.queue))
        self.item_index, self.nextitem_index = 5, 6
        self.sent: list[tuple[str, Any]] = []

    def sendevent(self, name: str, **told: Any) -> None:
        self.sent.append((name, told.get("item_index")))

    def ended(self, index: int) -> None:
        self.sendevent(ENDED, item_index=index, duration=0.5)


def watched(interactor: WorkerInteractor, waiting: set[str]) -> Ends:
    plugins = SimpleNamespace(get_plugins=lambda: {object(), interactor})
    ends = let_ends_wait(SimpleNamespace(pluginmanager=plugins), waiting.__contains__)  # type: ignore[arg-type]  # no more of it is used
    assert ends is not None
    return ends


def test_the_news_of_ended_tests_waits_while_more_are_in_the_queue() -> None:
    interactor = WorkerInteractor(7, 8)
    watched(interactor, {"inference::1", "inference::2", "inference::3"})
    interactor.ended(1)
    interactor.ended(2)
    assert interactor.sent == []
    interactor.sendevent("testreport", item_index=2)
    assert interactor.sent == [("testreport", 2)]
    interactor.queue.clear()
    interactor.ended(3)
    assert interactor.sent[1:] == [(ENDED, [1, 2, 3])], "the controller sends no more before it hears of these"
    interactor.queue.append(7)
    interactor.ended(4)
    assert interactor.sent[2:] == [(ENDED, 4)], "its report was sent"


def test_what_ended_is_told_when_the_worker_is_stopped() -> None:
    interactor = WorkerInteractor(7)
    ends = watched(interactor, {"inference::1"})
    ends.tell()
    interactor.ended(1)
    ends.tell()
    ends.tell()
    assert interactor.sent == [(ENDED, 1)]


def test_the_next_cell_runs_within_the_same_call_while_the_one_behind_it_is_known() -> None:
    worker = WorkerInteractor(7, 8)
    ends = watched(worker, {"inference::5", "inference::6", "inference::7"})
    behind = ends.go_on()
    assert behind is worker.session.items[7]
    assert (worker.item_index, worker.nextitem_index, list(worker.queue)) == (6, 7, [8])
    worker.queue[0] = "no test: the end"  # type: ignore[assignment]  # a marker of pytest-xdist's
    assert ends.go_on() is None
    worker.queue.clear()
    assert ends.go_on() is None
    assert (worker.item_index, worker.nextitem_index, worker.sent) == (6, 7, [])
    worker.ended(6)
    assert worker.sent == [(ENDED, [5, 6])], "the first has ended, too"


def test_another_pytest_xdist_is_left_alone() -> None:
    interactor = WorkerInteractor()
    interactor.torun = SimpleNamespace()
    plugins = SimpleNamespace(get_plugins=lambda: {interactor})
    assert let_ends_wait(SimpleNamespace(pluginmanager=plugins), bool) is None  # type: ignore[arg-type]  # no more of it is used
    interactor.ended(1)
    assert interactor.sent == [(ENDED, 1)]
