from __future__ import annotations

import threading
from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.clock import FakeClock
from pytest_llmci.plugin.timeouts import Stopwatch

Settings = namedtuple("Settings", "timeout method")  # noqa: PYI024  # as pytest-timeout makes it


class Bed:
    """A test under pytest-timeout, whose hooks are written down."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.stopwatch = Stopwatch(self.clock)
        self.told: list[Any] = []
        self.item: Any = SimpleNamespace(config=SimpleNamespace(hook=self))

    def pytest_timeout_set_timer(self, item: Any, settings: Settings) -> None:
        assert item is self.item
        self.stopwatch.pytest_timeout_set_timer(item, settings)
        self.told.append(settings)

    def pytest_timeout_cancel_timer(self, item: Any) -> None:
        assert item is self.item
        self.stopwatch.pytest_timeout_cancel_timer()
        self.told.append("cancelled")


def test_the_timer_goes_on_with_what_was_left_and_shows_the_whole_limit() -> None:
    bed = Bed()
    bed.pytest_timeout_set_timer(bed.item, Settings(4.0, "signal"))
    for left in (3.0, 2.0):
        bed.clock.sleep(1)
        with bed.stopwatch.stopped():
            bed.clock.sleep(60)
        assert bed.told[-2:] == ["cancelled", Settings(left, "signal")]
        assert "%ss" % bed.told[-1].timeout == "4.0s"  # noqa: UP031  # as pytest-timeout writes it


def test_a_timer_that_is_as_good_as_over_still_fires() -> None:
    bed = Bed()
    bed.pytest_timeout_set_timer(bed.item, Settings(1.0, "signal"))
    bed.clock.sleep(1)
    with bed.stopwatch.stopped():
        pass
    assert bed.told[-1].timeout > 0


def test_the_timer_runs_again_after_a_failure() -> None:
    bed = Bed()
    bed.pytest_timeout_set_timer(bed.item, Settings(4.0, "thread"))
    with pytest.raises(KeyError), bed.stopwatch.stopped():
        raise KeyError
    assert bed.told[-1] == Settings(4.0, "thread")


def test_no_timer_is_set_where_none_runs() -> None:
    bed = Bed()
    with bed.stopwatch.stopped():
        pass
    bed.pytest_timeout_set_timer(bed.item, Settings(4.0, "signal"))
    bed.pytest_timeout_cancel_timer(bed.item)
    with bed.stopwatch.stopped(), bed.stopwatch.stopped():
        pass
    assert bed.told == [Settings(4.0, "signal"), "cancelled"]


def test_in_another_thread_the_timer_runs_on() -> None:
    bed = Bed()
    bed.pytest_timeout_set_timer(bed.item, Settings(4.0, "signal"))

    def load() -> None:
        with bed.stopwatch.stopped():
            pass

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    assert bed.told == [Settings(4.0, "signal")]
