"""The only access to time, so that tests can replace it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the project reads time from."""

    def now_ns(self) -> int:
        """Monotonic time in nanoseconds; only differences mean anything."""

    def utc(self) -> datetime:
        """Wall-clock time, aware, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def utc(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class FakeClock:
    """Time that moves only when it is told to.

    >>> clock = FakeClock()
    >>> clock.sleep(1.5)
    >>> clock.now_ns()
    1500000000
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._ns = 0

    def now_ns(self) -> int:
        return self._ns

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self._start.timestamp() + self._ns / 1e9, UTC)

    def sleep(self, seconds: float) -> None:
        self._ns += round(seconds * 1e9)


def outside_s() -> float:
    """Seconds of a clock that no instrument reads, the same in all processes: the raw counter, where the system shows it.

    What checks the instruments goes by it. The clock that they read (``perf_counter_ns``) is the same counter after the
    system's corrections, at most 0.05 % faster or slower.
    """
    raw: int | None = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    return time.monotonic() if raw is None else time.clock_gettime_ns(raw) / 1e9


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds: ``2026-01-01T00:00:00.000Z``."""
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
