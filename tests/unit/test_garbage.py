"""What is many and stays is not walked again and again, and afterwards all is as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pytest_llmci.garbage import RARELY, Settling, collector_paused, collector_rare


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    yield
    gc.set_threshold(*before)
    gc.enable()
    if not frozen:
        gc.unfreeze()


def test_paused_and_on_again_also_where_something_fails() -> None:
    seen: list[bool] = []
    with suppress(KeyError), collector_paused():
        seen.append(gc.isenabled())
        raise KeyError
    assert [*seen, gc.isenabled()] == [False, True]
    gc.disable()
    with collector_paused():
        pass
    assert not gc.isenabled(), "somebody else had switched it off"


def test_rare_and_as_before() -> None:
    gc.set_threshold(500, 7, 7)
    with collector_rare():
        assert gc.get_threshold() == (RARELY, 7, 7)
    assert gc.get_threshold() == (500, 7, 7)


def test_what_settles_is_set_aside_part_by_part_without_its_garbage() -> None:
    gc.set_threshold(500, 7, 7)
    settling = Settling(every=2)
    settling.note()
    assert gc.get_threshold() == (500, 7, 7), "not before it begins"
    settling.begin()
    settling.begin()
    assert gc.get_threshold() == (RARELY, 7, 7)
    kept = [[number] for number in range(2000)]
    before = gc.get_freeze_count()
    settling.note()
    assert gc.get_freeze_count() == before
    settling.note()
    assert gc.get_freeze_count() >= before + len(kept)
    settling.end()
    settling.end()
    assert gc.get_threshold() == (500, 7, 7)


def test_a_collector_that_is_switched_off_stays_so() -> None:
    gc.set_threshold(0, 10, 10)
    settling = Settling(every=1)
    settling.begin()
    settling.note()
    settling.end()
    assert gc.get_threshold() == (0, 10, 10)
