"""What disturbed a measurement: waiting for a CPU, preemption, page-ins, a busy hypervisor.

Nothing is corrected and nothing is dropped: a round that was disturbed keeps its numbers and is marked, by
:func:`noisy_reason`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from ..metrics import MetricDef
from ..quick_records import quickly_made
from ..records import Missing
from .base import CLOCK_WENT_BACK, Reading

if TYPE_CHECKING:
    from .region import Figures

TICK_NS: Final = 1_000_000_000 // (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
"""Unit in which the kernel counts steal, usually 10 ms."""
NOISY_SHARE: Final = 0.05  # of wall time: the smallest change that a gate looks for unless told otherwise
MAJOR_FAULT_NS: Final = 1_000_000  # what a page-in is taken to cost: a fast disk needs 0.1 ms, a slow one 10 ms
NOISY_SWITCHES_PER_S: Final = 100  # a neighbour on the same core preempts at each of its ticks, 100 to 1,000 a second
NOISY_SWITCHES_LEAST: Final = 5  # a short round may meet a kernel thread or two
NOISY_STEAL_LEAST_NS: Final = 2 * TICK_NS  # one tick is the resolution


def noisy_reason(values: Mapping[str, float], wall_ns: int, *, cpus: int | None = None) -> str:
    """Why a round counts as noisy; empty if it does not.

    A round is noisy if, during it,

    - its thread waited for a CPU for more than 5 % of the wall time (``run_delay``), or
    - the hypervisor took more than 5 % of the wall time of each CPU on average, and at least two ticks (``steal``), or
    - pages were read from disk, more than 5 % of the wall time at 1 ms each (``major_faults``), or
    - its threads were preempted at least five times and more than 100 times a second (``involuntary_switches``).

    :param values: metric name -> number as stored (times in nanoseconds); what is missing is passed over.
    :param wall_ns: how long the round took.
    :param cpus: logical CPUs of the machine; asked of the system if not given.
    :returns: the reasons in words, joined by ``; ``. The round keeps its numbers in every case.
    """
    if wall_ns <= 0:
        return ""
    limit_ns = NOISY_SHARE * wall_ns
    delay = values.get("run_delay", 0)
    steal = values.get("steal", 0)
    faults = values.get("major_faults", 0)
    switches = values.get("involuntary_switches", 0)
    reasons = []
    if delay > limit_ns:
        reasons.append(f"waited for a CPU {delay / wall_ns:.0%} of the time")
    if steal >= NOISY_STEAL_LEAST_NS and steal > limit_ns * (cpus or os.cpu_count() or 1):
        reasons.append(f"the hypervisor took {steal / 1e6:.0f} ms of CPU time")
    if faults * MAJOR_FAULT_NS > limit_ns:
        reasons.append(f"{faults:.0f} pages were read from disk")
    if switches >= NOISY_SWITCHES_LEAST and switches * 1e9 > NOISY_SWITCHES_PER_S * wall_ns:
        reasons.append(f"preempted {switches:.0f} times")
    return "; ".join(reasons)


# ------------------------------------------------------------------------------------------------------- kernel files


class OwnedFile:
    """A file that stays open for reading and is closed with its owner."""

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, size: int) -> bytes:
        """The first bytes of its present content."""
        return os.pread(self.fd, size, 0)

    def close(self) -> None:
        """Close it; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def forget(self) -> None:
        """Let go of the number without closing it: somebody closed it, and it may be another's now."""
        self.fd = -1

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()


class ThreadDelay:
    """Run-queue statistics of one thread, and a reading that may still hold.

    A thread waits for a CPU only after it has left one, and ``getrusage`` counts how often threads of the process did.
    So what was read between two equal counts is what a reading would give until the count is another.
    """

    __slots__ = ("_file", "kept", "left")

    def __init__(self, file: OwnedFile | None) -> None:
        """:param file: None where there is none."""
        self._file = file
        self.kept = b""
        """The reading that holds; empty if none does."""
        self.left = -1
        """How often threads of the process had left a CPU when a block of this thread ended; -1 where that is not known."""

    def raw(self) -> bytes:
        """The file as it is now; empty where there is none. A few hundred nanoseconds."""
        try:
            return os.pread(self._file.fd, 64, 0)  # type: ignore[union-attr]  # no file: caught below
        except (OSError, AttributeError):  # AttributeError: also without os.pread on this system
            return b""

    def forget(self) -> None:
        """Let go of the file without closing it."""
        if self._file is not None:
            self._file.forget()


class RunDelay:
    """Run-queue statistics of the calling thread, one open file a thread."""

    def __init__(self, path: str = "/proc/thread-self/schedstat") -> None:
        self._path = path
        self._local = threading.local()

    def here(self) -> ThreadDelay:
        """Those of the calling thread."""
        try:
            found: ThreadDelay = self._local.thread
        except AttributeError:
            return self._open()
        return found

    def raw(self) -> bytes:
        """What the file of the calling thread says now; empty where there is none."""
        return self.here().raw()

    def forget(self) -> None:
        """Open the calling thread's file anew; the number that was kept is no longer ours."""
        thread: ThreadDelay | None = getattr(self._local, "thread", None)
        if thread is not None:
            thread.forget()
            del self._local.thread

    def _open(self) -> ThreadDelay:
        try:
            file = OwnedFile(self._path)
        except OSError:
            return ThreadDelay(None)
        self._local.thread = thread = ThreadDelay(file)  # closed when its thread ends
        return thread


def run_delay_ns(before: bytes, after: bytes) -> Reading:
    """Time the thread was ready to run but had no CPU, between two readings of its ``schedstat``."""
    try:
        last = after.split()
        if int(last[2]) == 0:  # times it was put on a CPU; the first field lags behind, this one does not
            return Missing("this kernel keeps no run-queue statistics")
        return int(last[1]) - int(before.split()[1]) if before != after else 0
    except (IndexError, ValueError):
        return Missing("run-queue statistics (/proc/thread-self/schedstat) cannot be read here")


@quickly_made
@dataclass(frozen=True, slots=True)
class StealSample:
    """The machine's steal counter at one moment."""

    at_ns: int
    ticks: int | None
    """None where it could not be read."""


_SHORTER: Final = Missing(
    f"the block was shorter than the {TICK_NS / 1e6:.0f} ms tick in which the kernel counts steal"
)
SLOW_STAT_NS: Final = 100_000  # with many CPUs and interrupts the kernel needs that long to write /proc/stat


class Steal:
    """Time that a hypervisor gave to others, over all CPUs of the machine.

    The kernel counts in ticks of 10 ms, so a reading up to one tick old is as good as a new one, and a block shorter
    than a tick has no steal to tell. That spares short blocks a read that costs as much as all the others together.
    """

    def __init__(self, path: str = "/proc/stat") -> None:
        self._path = path
        self._file: OwnedFile | None = None
        self._opened = False
        self._why = "steal (/proc/stat) cannot be read here"
        self._last = StealSample(-(1 << 62), None)

    def begin(self, now_ns: int) -> StealSample:
        """The counter at the begin of a block, at most one tick old."""
        if not 0 <= now_ns - self._last.at_ns <= TICK_NS:
            self._last = StealSample(now_ns, self._ticks())
        return self._last

    def end(self, begin: StealSample, begin_ns: int, now_ns: int) -> Reading:
        """Nanoseconds of steal in a block.

        :param begin: what :meth:`begin` gave.
        :param begin_ns: when the block began.
        :param now_ns: when it ended.
        """
        if begin.ticks is None:
            return Missing(self._why)
        if now_ns - begin_ns < TICK_NS:
            return _SHORTER if now_ns >= begin_ns else CLOCK_WENT_BACK
        self._last = StealSample(now_ns, self._ticks())
        if self._last.ticks is None:
            return Missing(self._why)
        if self._last.ticks < begin.ticks:  # as after a move of the virtual machine to another host
            return Missing("the kernel's count of steal (/proc/stat) went back")
        return (self._last.ticks - begin.ticks) * TICK_NS

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        file, self._file, self._opened = self._file, None, False
        if file is not None:
            file.close()

    def forget(self) -> None:
        """Open the file anew; the number that was kept is no longer ours."""
        if self._file is not None:
            self._file.forget()
        self._file, self._opened = None, False

    def _ticks(self) -> int | None:
        if not self._opened:
            self._open()
        if self._file is None:
            return None
        try:
            return int(self._file.read(160).split(None, 9)[8])
        except (OSError, IndexError, ValueError, AttributeError):
            return None

    def _open(self) -> None:
        from time import perf_counter_ns

        self._opened = True
        try:
            file = OwnedFile(self._path)
            took_ns = []
            for _ in range(5):
                begin = perf_counter_ns()
                file.read(160)
                took_ns.append(perf_counter_ns() - begin)
        except (OSError, AttributeError):
            return
        if min(took_ns) > SLOW_STAT_NS:
            self._why = f"reading /proc/stat takes {min(took_ns) / 1000:.0f} us here, too long around a block"
            file.close()
            return
        self._file = file


class NoiseInstrument:
    """What disturbed the round."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="run_delay",
            unit="s",
            direction="none",
            stored="ns",
            group="noise",
            label="run delay",
            definition="Time the generating thread was ready to run but had no CPU.",
            excludes="waits of other threads of the process",
            source="/proc/thread-self/schedstat, second field",
        ),
        MetricDef(
            name="involuntary_switches",
            unit="1",
            direction="none",
            group="noise",
            label="preemptions",
            definition="Times the kernel took a CPU away from a thread of the process.",
            excludes="switches because the thread waited for something",
            source="getrusage(RUSAGE_SELF).ru_nivcsw",
        ),
        MetricDef(
            name="major_faults",
            unit="1",
            direction="none",
            group="noise",
            label="page-ins",
            definition="Pages that had to be read from disk while the process waited.",
            excludes="page faults that memory alone could answer",
            source="getrusage(RUSAGE_SELF).ru_majflt",
        ),
        MetricDef(
            name="steal",
            unit="s",
            direction="none",
            stored="ns",
            group="noise",
            label="steal",
            definition="CPU time that the hypervisor gave to others, over all CPUs, in steps of one kernel tick.",
            excludes="neighbours inside this machine (see run_delay); blocks shorter than a tick have none to tell",
            source="/proc/stat, field steal of the line cpu",
        ),
    )


def noise_values(figures: Figures) -> dict[str, Reading]:
    """What disturbed a region."""
    return {
        "run_delay": figures.run_delay_ns,
        "involuntary_switches": figures.involuntary_switches,
        "major_faults": figures.major_faults,
        "steal": figures.steal_ns,
    }
