from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_llmci.runner.memory_pass import ALLOCATOR, SteadyHeap

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))


def in_a_process_of_its_own(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": ROOT, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


HOLES = """
import ctypes
from pytest_llmci.runner.memory_pass import BLOCK_BYTES, SteadyHeap
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
small = [library.malloc(60_000) for _ in range(80)]  # below the threshold: on the heap
for block in small[:-1]:
    library.free(block)  # together they are one hole of 4.7 MB
heap = SteadyHeap()
first, second = heap.fill(), heap.fill()
print(first, second)
"""


def test_holes_are_filled_once() -> None:
    first, second = map(int, in_a_process_of_its_own(HOLES, **ALLOCATOR).split())
    assert first >= 70
    assert second == 0


def test_an_allocator_that_takes_no_notice_is_left_alone() -> None:
    """Under a large threshold no block is ever a mapping: as with another allocator, the filling gives up and gives back."""
    code = (
        "from pytest_llmci.runner import memory_pass\nmemory_pass._MOST_BLOCKS = 500\n"
        "heap = memory_pass.SteadyHeap()\nprint(heap.fill(), heap._library, heap.fill())"
    )
    settings = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
    assert in_a_process_of_its_own(code, **settings) == "0 None 0"


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: object) -> object:
        raise OSError("no such library")

    monkeypatch.setattr("ctypes.CDLL", none)
    assert SteadyHeap().fill() == 0


def test_all_threads_stay_on_one_cpu() -> None:
    code = (
        "import os, threading\nfrom pytest_llmci.runner.memory_pass import MemoryPass\n"
        "end = threading.Event()\nother = threading.Thread(target=end.wait)\nother.start()\n"
        "MemoryPass().before_round()\n"
        "print(sorted(os.sched_getaffinity(0)), sorted(os.sched_getaffinity(other.native_id)))\nend.set()"
    )
    first = [min(os.sched_getaffinity(0))]
    assert in_a_process_of_its_own(code) == f"{first} {first}"
