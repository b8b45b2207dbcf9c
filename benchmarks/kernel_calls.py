"""The least that the instruments can cost in Python: their calls of the kernel, and nothing made of what it answers.

The files are open, no number is read out of them, nothing is checked and nobody else measures: what stands between this and the
instruments is ours, what stands above a bare loop is the kernel's.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from time import perf_counter_ns

if sys.platform == "linux":
    from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

STEAL_FROM_NS = 10_000_000  # a block shorter than a tick has no steal to tell, so /proc/stat is not read


class KernelCalls:
    """The calls around a block, in the order of the instruments."""

    def __init__(self, *, whole_round: bool) -> None:
        """Open the files.

        :param whole_round: False leaves out what stands outside of the region: threads, pressure, children, the CPUs that may be used.
        """
        self._whole_round = whole_round
        self._statm, self._delay, self._stat, self._threads = (
            os.open(path, os.O_RDONLY)
            for path in ("/proc/self/statm", "/proc/thread-self/schedstat", "/proc/stat", "/proc/self/task")
        )
        self._clear = os.open("/proc/self/clear_refs", os.O_WRONLY)
        self._pressure = os.open("/proc/pressure/cpu", os.O_RDONLY) if os.path.exists("/proc/pressure/cpu") else -1
        self._began_ns = 0
        self._began = getrusage(RUSAGE_SELF)

    def begin(self) -> None:
        """What is asked before the block."""
        pread = os.pread
        if self._whole_round:
            os.fstat(self._threads)
            if self._pressure >= 0:
                pread(self._pressure, 160, 0)
            getrusage(RUSAGE_CHILDREN)
        gc.disable()
        pread(self._statm, 128, 0)
        os.write(self._clear, b"5")
        began = getrusage(RUSAGE_SELF)
        if began.ru_nvcsw != self._began.ru_nvcsw or began.ru_nivcsw != self._began.ru_nivcsw:
            pread(self._delay, 64, 0)
        self._began = began
        self._began_ns = perf_counter_ns()

    def end(self) -> None:
        """What is asked after it."""
        ended_ns = perf_counter_ns()
        pread = os.pread
        ended, began = getrusage(RUSAGE_SELF), self._began
        if ended.ru_minflt != began.ru_minflt or ended.ru_maxrss != began.ru_maxrss:
            pread(self._statm, 128, 0)
        if ended.ru_nvcsw != began.ru_nvcsw or ended.ru_nivcsw != began.ru_nivcsw:
            pread(self._delay, 64, 0)
        if ended_ns - self._began_ns >= STEAL_FROM_NS:
            pread(self._stat, 160, 0)
        gc.enable()
        if self._whole_round:
            _ask_for_children()
            getrusage(RUSAGE_CHILDREN)
            if self._pressure >= 0:
                pread(self._pressure, 160, 0)
            os.fstat(self._threads)
            os.sched_getaffinity(0)


def _ask_for_children() -> None:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return


def kernel_calls(*, whole_round: bool) -> KernelCalls | None:
    """The calls; None where this is not Linux, and said."""
    if sys.platform != "linux":
        print("the kernel's calls alone are known for Linux only: left out.", file=sys.stderr)
        return None
    return KernelCalls(whole_round=whole_round)


def around_nothing(calls: KernelCalls) -> Callable[[], None]:
    """The calls around an empty block."""

    def block() -> None:
        calls.begin()
        calls.end()

    return block
