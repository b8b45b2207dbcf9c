"""Waiting for what another process does: it ends when the thing has happened, and a slow machine only makes it longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 120.0
"""No pause of a machine is that long; what has not happened by then does not."""


def comes_true(condition: Callable[[], object], *, within_s: float = PATIENCE_S) -> bool:
    """Whether a condition came true."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            return bool(condition())
        time.sleep(0.01)
    return True


def runs(pid: int) -> bool:
    """Whether a process of that number runs; a zombie does not."""
    import psutil  # not there for who has given up the right to import it

    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


def gone(pid: int) -> bool:
    """Whether that process has ended, now or soon."""
    return comes_true(lambda: not runs(pid))


def times_asleep(pid: int) -> int:
    """How often the first thread of a process gave up its CPU to wait for something (Linux)."""
    return int(Path(f"/proc/{pid}/status").read_bytes().rpartition(b"\nvoluntary_ctxt_switches:")[2].split()[0])


def went_round(pid: int) -> bool:
    """Whether a process that sleeps after each look has looked once from begin to end, now or soon."""
    before = times_asleep(pid)
    return comes_true(lambda: times_asleep(pid) >= before + 2)
