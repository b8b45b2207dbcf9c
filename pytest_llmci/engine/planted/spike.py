"""A sharp spike of memory, put in and taken out of this process at once."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

from ...measure.memory import PAGE


class Spike:
    """A mapping of known size (Linux): shared memory that was filled before, so that its edges are sharp, or fresh pages."""

    def __init__(self, size: int, *, anonymous: bool = False) -> None:
        """:param anonymous: fresh pages, which take their time to be filled."""
        self.size = size
        self._anonymous = anonymous
        self._fd = os.memfd_create("spike")
        os.ftruncate(self._fd, size)
        with mmap.mmap(self._fd, size) as block:
            for at in range(0, size, PAGE):
                block[at] = 1

    def plant(self, hold_s: float, *, hold_lock: bool, pages_less: int = 0) -> int:
        """Map it, wait, unmap it.

        :param hold_lock: keep the interpreter's lock all the time, so that no thread of this process can look.
        :param pages_less: pages by which it is smaller: real spikes are no powers of two.
        :returns: resident bytes of this process at its height, summed exactly by the kernel.
        """
        library = _library(hold_lock=hold_lock)
        size = self.size - pages_less * PAGE
        kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS if self._anonymous else mmap.MAP_SHARED
        fd = -1 if self._anonymous else self._fd
        at = library.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, kind | mmap.MAP_POPULATE, fd, 0)
        end = time.perf_counter() + hold_s
        height = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE
        library.usleep(max(0, int((end - time.perf_counter()) * 1e6)))
        library.munmap(at, size)
        return height

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._fd)


def _library(*, hold_lock: bool) -> ctypes.CDLL:
    library = ctypes.PyDLL(None) if hold_lock else ctypes.CDLL(None)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.usleep.argtypes = [ctypes.c_uint]
    return library
