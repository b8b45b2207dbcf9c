"""What makes the growth of memory repeatable in the process of a memory pass.

Started with ``MALLOC_MMAP_THRESHOLD_`` and ``MALLOC_TRIM_THRESHOLD_``, glibc takes each block of 64 KiB or more from the
kernel and gives it back when it is freed, but only if no hole of the heap can hold it: what loading left behind then serves
some of an inference's tensors, now two and now three. So the holes are filled before each round, with blocks that nobody
touches. And the kernel counts resident pages by CPU, so that its high-water mark is the more exact the fewer are used: the
process stays on one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Mapping
from typing import Any, Final

from ..measure.region import PROCESS_METER

BLOCK_BYTES: Final = 65536
ALLOCATOR: Final[Mapping[str, str]] = {
    "MALLOC_MMAP_THRESHOLD_": str(BLOCK_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(BLOCK_BYTES),
}
"""Environment of the process. Set for its whole life: the same call at run time leaves the heap as it is."""
_MOST_BLOCKS: Final = 32_768
"""Two GiB of holes; a heap that takes more has another allocator, which takes no notice of the settings."""
_MALLINFO2: Final = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO2]  # as ctypes wants it


class SteadyHeap:
    """Keeps the heap without holes. Without glibc 2.33 or newer it does nothing."""

    def __init__(self) -> None:
        self._library: Any = None
        with contextlib.suppress(OSError, TypeError, AttributeError):  # not POSIX; another C library
            library: Any = ctypes.CDLL(None)
            library.mallinfo2.restype = _Mallinfo2
            library.malloc.restype = ctypes.c_void_p
            library.malloc.argtypes = [ctypes.c_size_t]
            library.free.argtypes = [ctypes.c_void_p]
            self._library = library

    def fill(self) -> int:
        """Fill every hole that could hold :data:`BLOCK_BYTES`; the blocks are kept until the process ends.

        :returns: how many blocks that took.
        """
        library = self._library
        if library is None:
            return 0
        mapped = library.mallinfo2().hblks
        blocks: list[int] = []
        while len(blocks) < _MOST_BLOCKS:
            block = library.malloc(BLOCK_BYTES)
            if library.mallinfo2().hblks > mapped:  # no hole took it: it is a mapping of its own
                library.free(block)
                return len(blocks)
            blocks.append(block)
        for block in blocks:
            library.free(block)
        self._library = None
        return 0


class MemoryPass:
    """What is done before each round of a memory pass, warm-ups included, outside of what is measured."""

    def __init__(self) -> None:
        self._heap = SteadyHeap()
        self._pinned = False

    def before_round(self) -> None:
        """Stay on one CPU, and leave the heap without holes."""
        if not self._pinned:
            self._pinned = True
            stay_on_one_cpu()
            PROCESS_METER.close()  # how exact it is depends on the CPUs; it finds out anew
        self._heap.fill()


def stay_on_one_cpu() -> None:
    """Move all threads of the process to the first CPU that it may use (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        return
    with contextlib.suppress(OSError):
        cpu = min(os.sched_getaffinity(0))
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.sched_setaffinity(int(thread), {cpu})
