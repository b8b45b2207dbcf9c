"""Keeps pytest-timeout from charging a test with what is not its own: a model's load, the wait for the machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import pytest

from ..clock import Clock

LEAST_S = 0.001
"""A timer set to zero would never fire."""


class Remainder(float):
    """What is left of a time limit; shown as the limit that the user gave, since that is what pytest-timeout will say was missed."""

    limit: object

    def __new__(cls, seconds: float, limit: object) -> Self:
        made = super().__new__(cls, max(seconds, LEAST_S))
        made.limit = limit
        return made

    def __str__(self) -> str:
        return str(self.limit)


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer of pytest-timeout that runs."""

    item: pytest.Item
    settings: Any
    began_ns: int


class Stopwatch:
    """Follows pytest-timeout through its own hooks, and stops its timer when asked to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer: Timer | None = None

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> None:
        """A timer is about to be set, for a whole test or for its body (``timeout_func_only``)."""
        self._timer = Timer(item, settings, self._clock.now_ns())

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_cancel_timer(self) -> None:
        """It is over."""
        self._timer = None

    def stopped(self) -> AbstractContextManager[None]:
        """No time passes for the running timer, if there is one.

        A timer that works by signal can only be set in the main thread, where the tests are; elsewhere it runs on.
        """
        timer = self._timer
        if timer is None or threading.current_thread() is not threading.main_thread():
            return nullcontext()
        return self._stopped(timer)

    @contextmanager
    def _stopped(self, timer: Timer) -> Iterator[None]:
        spent_s = (self._clock.now_ns() - timer.began_ns) / 1e9
        hook = timer.item.config.hook
        hook.pytest_timeout_cancel_timer(item=timer.item)
        try:
            yield
        finally:
            left = Remainder(timer.settings.timeout - spent_s, timer.settings.timeout)
            hook.pytest_timeout_set_timer(item=timer.item, settings=timer.settings._replace(timeout=left))
