"""When Python's garbage collector looks at what there is: what is many and stays would be walked again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

RARELY: Final = 50_000
"""Objects that are made before the collector looks at them, where it does so rarely: a few megabytes."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """For many small objects without a cycle, such as reports and logs."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def collector_rare() -> Iterator[None]:
    """For what mostly stays, such as imported modules and collected tests, where others may leave cycles as well."""
    before = gc.get_threshold()
    gc.set_threshold(max(RARELY, before[0]) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Settling:
    """For a process that keeps ever more, until its end, and whose garbage others leave: each part of what stays is looked at once.

    The collector alone would walk all of it again whenever it has grown by a quarter.
    """

    def __init__(self, *, every: int) -> None:
        """:param every: things that are kept before they are looked at and set aside."""
        self._every = every
        self._kept = 0
        self._before: tuple[int, int, int] | None = None

    def begin(self) -> None:
        """Let the collector itself look rarely, and at nothing that is there; a second call does nothing, nor where it is switched off."""
        before = gc.get_threshold()
        if self._before is None and before[0]:
            self._before = before
            gc.set_threshold(max(RARELY, before[0]), *before[1:])
            gc.collect(0)
            gc.freeze()

    def note(self) -> None:
        """One more thing that is kept."""
        if self._before is None:
            return
        self._kept += 1
        if self._kept == self._every:
            self._kept = 0
            gc.collect()
            gc.freeze()

    def end(self) -> None:
        """Let it work as before; safe to call twice."""
        if self._before is not None:
            gc.set_threshold(*self._before)
            self._before = None
