from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.plugin.holding import LONGEST_S, SHORT_S, Held, Holding, may_wait, unpacked
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
