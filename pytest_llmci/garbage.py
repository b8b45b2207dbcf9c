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
