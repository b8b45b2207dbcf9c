from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Callable
from typing import Protocol

import pytest


class Spike(Protocol):
    def __call__(self, size: int, *, hold_lock: bool = False) -> None: ...


def _memset(*, hold_lock: bool) -> Callable[[int, int, int], object]:
    library = ctypes.PyDLL(None) if hold_lock else ctypes.CDLL(None)
    function = library.memset
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    return function


def _spike(size: int, *, hold_lock: bool = False) -> None:
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    view = (ctypes.c_char * size).from_buffer(block)
    _memset(hold_lock=hold_lock)(ctypes.addressof(view), 1, size)
    del view
    block.close()


@pytest.fixture
def spike() -> Spike:
    """Have that many bytes resident for a moment, with the interpreter lock held or released while they are written."""
    return _spike


@pytest.fixture
def burn() -> Callable[[float], None]:
    """Spend CPU time in this thread: seconds of it, however long that takes."""

    def run(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    return run
