"""An event loop whose timers are as good as the system's, and a sampler of how late it is.

``epoll`` waits whole milliseconds, and asyncio rounds up: every request would be sent half a millisecond late on average, which is
5 % of a first token after 10 ms. But the descriptor of an ``epoll`` can be waited for itself, by ``select``, which knows
microseconds: no polling, one system call more.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from collections.abc import Callable
from typing import Any, Final

TICK_S: Final = 0.01
"""Between two looks at the lag."""
_TICK_NS: Final = round(TICK_S * 1e9)
_MOST_OF_SELECT: Final = 1024
"""Descriptors from this number on are refused by ``select``."""


class PreciseSelector(selectors.DefaultSelector):
    """The system's best selector, waiting to the microsecond."""

    def select(self, timeout: float | None = None) -> Any:
        """Those that are ready, as soon as there is one."""
        if timeout is not None and timeout > 0 and hasattr(selectors, "EpollSelector"):
            own = self.fileno()
            if own < _MOST_OF_SELECT:
                select.select([own], [], [], timeout)
                timeout = 0
        return super().select(timeout)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop with such timers; where the system's loop has no selector, that one."""
    if not hasattr(selectors, "EpollSelector"):
        return asyncio.new_event_loop()
    return asyncio.SelectorEventLoop(PreciseSelector())


class LagSampler:
    """Looks every few milliseconds how late the loop is: what arrives meanwhile is seen as late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_tick: Callable[[], None]) -> None:
        self._loop = loop
        self._on_tick = on_tick
        self._due_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self.lags_ns: list[int] = []

    def start(self) -> None:
        """Begin."""
        self._due_ns = time.perf_counter_ns() + _TICK_NS
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self.lags_ns.append(max(0, time.perf_counter_ns() - self._due_ns))
        self._on_tick()
        self.start()
