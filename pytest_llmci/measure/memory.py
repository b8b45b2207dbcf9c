"""Peak resident memory of this process over a stretch of time, by the best method that the system allows.

``hwm``
    The kernel's own high-water mark, reset at the begin (``5`` written to ``/proc/self/clear_refs``, Linux 4.0) and
    read at the end: no spike is missed, however short, and nothing is sampled. A sandbox may accept the write and
    ignore it, so it is tested once with a planted spike.
``sampler``
    Another process looks once a millisecond: where the reset is refused.
``lifetime``
    The peak since the process began, which has no begin of its own: where nothing else is left.

A reading says by which method it came; two methods are never compared.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Protocol

from ..metrics import MetricDef
from ..records import Missing
from .base import Reading
from .cpu import HAS_RUSAGE, affinity_count

if TYPE_CHECKING:
    from .region import Figures
    from .sampler import Sampler

MemoryMethod = Literal["hwm", "sampler", "lifetime", ""]
"""How a peak was found; empty where there is none."""
GROWTH: Final = "peak_rss_delta"
"""What the memory pass measures."""
PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PER_CPU_COUNTERS: Final = (6, 2)  # first Linux with them
_COUNTERS: Final = 3  # anonymous, file and shared pages are counted apart
_SPACE, _ZERO = b" 0"  # how statm ends: its last field is not used since Linux 2.6
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPaths:
    """Where the kernel is asked."""

    statm: str = "/proc/self/statm"
    status: str = "/proc/self/status"
    clear_refs: str = "/proc/self/clear_refs"


class MemoryFiles:
    """The kernel's files on this process's memory, kept open: opening costs ten times the reading.

    :raises OSError: from every method, where the system refuses or has no such file.
    """

    def __init__(self, paths: MemoryPaths) -> None:
        self.paths = paths
        self.statm = _opened(paths.statm)
        self.status = _opened(paths.status)

    def sizes(self) -> bytes:
        """Resident memory now, summed exactly, as the kernel writes it: for :func:`resident_bytes`, when time no longer counts."""
        text = os.pread(self.statm, 128, 0)
        if text[-2] != _ZERO or text[-3] != _SPACE:
            raise OSError(f"{self.paths.statm} is not what the kernel writes")
        return text

    def rss(self) -> int:
        """Resident memory now, in bytes."""
        return resident_bytes(self.sizes())

    def hwm(self) -> int:
        """The high-water mark in bytes: since the last reset, else since the program began."""
        if self.status < 0:
            raise OSError(f"{self.paths.status} cannot be read")
        text = os.pread(self.status, 4096, 0)
        at = text.find(b"VmHWM:")
        if at < 0:  # a long list of groups stands before it
            text = os.pread(self.status, 1 << 20, 0)
            at = text.find(b"VmHWM:")
        if at < 0:
            raise OSError(f"{self.paths.status} has no VmHWM")
        return int(text[at + 6 : text.index(b"kB", at)]) * 1024

    def close(self) -> None:
        """Close them."""
        for fd in (self.statm, self.status):
            _close(fd)
        self.statm = self.status = -1

    def forget(self) -> None:
        """Let go of the numbers without closing them: somebody closed them, and they may be others' now."""
        self.statm = self.status = -1


def resident_bytes(sizes: bytes) -> int:
    """What :meth:`MemoryFiles.sizes` gave, in bytes; -1 where it gave nothing."""
    return int(sizes.split(None, 2)[1]) * PAGE if sizes else -1


def _opened(path: str) -> int:
    """A file number, or -1: then every read of it fails as an ``OSError``."""
    try:
        return os.open(path, os.O_RDONLY | _CLOEXEC)
    except OSError:
        return -1


def _close(fd: int) -> None:
    if fd >= 0:
        try:
            os.close(fd)
        except OSError:
            return


class PeakSource(Protocol):
    """A way to know the highest memory between two calls, which come in the order reset, learn, peak."""

    method: MemoryMethod
    resolution_bytes: int | None
    """How far a peak may be off; None where that has no bound."""
    waits: bool
    """True where a call waits for another process: it must not stand between the other readings."""

    @property
    def helper_pid(self) -> int:
        """Id of that process; 0 where there is none."""

    def reset(self) -> None:
        """Begin a segment."""

    def learn(self, maxrss_kib: int, sizes: bytes) -> None:
        """Get what ``getrusage`` said right after the reset, and :meth:`MemoryFiles.sizes` right before it; empty if unknown."""

    def peak(self, maxrss_kib: int) -> int:
        """The peak of the segment in bytes.

        :param maxrss_kib: what ``getrusage`` says now.
        :raises OSError: if it cannot be known.
        """

    def idle(self) -> None:
        """Nobody measures any more."""

    def close(self) -> None:
        """Let go of everything; the source is not used again."""


# -------------------------------------------------------------------------------------------------- the high-water mark


class HighWaterMark:
    """The kernel's mark, with its known error taken out.

    Since Linux 6.2 resident memory is counted per CPU, and while ``statm`` sums exactly, the mark follows the
    approximate sum. Right after the reset ``ru_maxrss`` *is* that approximate sum, so its distance from ``statm`` is
    known, and is subtracted from the peak. A CPU hands its count on a batch of pages at a time, so on the way up the sum
    lags by half a batch on average; on the way down whole page tables are freed at once and leave no rest. So half a
    batch is added where the mark has risen.
    """

    method: MemoryMethod = "hwm"
    waits = False
    helper_pid = 0

    def __init__(self, files: MemoryFiles, *, corrected: bool = True) -> None:
        """Open and test it.

        :param corrected: False leaves the error in; for showing what the correction is worth.
        :raises OSError: if the reset is refused or has no effect; the message is the reason.
        """
        self._files = files
        self._corrected = corrected
        self.resolution_bytes: int | None = counter_resolution_bytes(affinity_count())
        self._drift_limit = counter_resolution_bytes(os.cpu_count() or 1)
        self._lag = counter_batch_pages() * PAGE // 2 if _kernel() >= _PER_CPU_COUNTERS else 0
        self._learned: tuple[int, bytes] = (0, b"")
        self.own = False
        """Whether ``ru_maxrss`` is this program's own mark, so that :meth:`peak_between` tells the peak of the segment."""
        self._own_from_kib = sys.maxsize
        self._inherited_kib = -1
        self._clear = os.open(files.paths.clear_refs, os.O_WRONLY | _CLOEXEC)
        try:
            self._test()
        except BaseException:
            self.close()
            raise

    def reset(self) -> None:
        os.write(self._clear, b"5")  # takes 0.3 us whatever the size; any other digit walks all pages

    def learn(self, maxrss_kib: int, sizes: bytes) -> None:
        self.own = maxrss_kib >= self._own_from_kib or self._is_own(maxrss_kib)
        self._learned = (maxrss_kib, sizes)

    def peak(self, maxrss_kib: int) -> int:
        if not self.own:
            return self._files.hwm()
        first_kib, sizes = self._learned
        return self.peak_between(first_kib, resident_bytes(sizes), maxrss_kib)

    def peak_between(self, first_kib: int, rss: int, last_kib: int) -> int:
        """The peak of a segment whose ``ru_maxrss`` is this program's own mark.

        :param first_kib: ``ru_maxrss`` right after the reset.
        :param rss: resident memory right before it; -1 where it is not known.
        :param last_kib: ``ru_maxrss`` at the end.
        """
        drift = first_kib * 1024 - rss
        # A larger one is not the counters' but another thread's memory, taken between the two readings.
        if not self._corrected or rss < 0 or abs(drift) > self._drift_limit:
            return last_kib * 1024
        lag = self._lag if last_kib > first_kib else 0
        return last_kib * 1024 - drift + lag

    def idle(self) -> None:
        pass

    def close(self) -> None:
        fd, self._clear = self._clear, -1
        _close(fd)

    def _is_own(self, maxrss_kib: int) -> bool:
        """Whether ``ru_maxrss`` is this program's own mark.

        ``exec`` hands the mark of the old program down to ``ru_maxrss`` for good: a small process started by a large
        one shows the large one's. ``VmHWM`` is not handed down; it costs seven times as much, so each level is settled
        once.
        """
        if maxrss_kib == self._inherited_kib:
            return False
        try:
            own = maxrss_kib * 1024 <= self._files.hwm()
        except (OSError, ValueError):
            return False
        if own:
            self._own_from_kib = maxrss_kib
        else:
            self._inherited_kib, self._own_from_kib = maxrss_kib, maxrss_kib + 1
        return own

    def _test(self) -> None:
        """Plant a spike and see it appear in the mark and vanish from it."""
        size = (8 << 20) if self._drift_limit <= 4 << 20 else (64 << 20)
        for _ in range(3):  # another thread that grows at the same time may spoil one try
            self.reset()
            low = self._files.hwm()
            _touch(size)
            high = self._files.hwm()
            self.reset()
            after = self._files.hwm()
            if high - low > size // 2 and high - after > size // 2:
                return
        raise OSError(f"{self._files.paths.clear_refs} accepts the reset of the high-water mark but ignores it")


def _touch(size: int) -> None:
    """Have that many bytes resident for a moment.

    A mapping of its own: a large block from malloc and back would change how malloc serves the measured code later.
    """
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for at in range(0, size, PAGE):
            block[at] = 1


def counter_resolution_bytes(cpus: int) -> int:
    """By how much the kernel's approximate page counters may be off after their error at the begin was taken out.

    Linux >= 6.2 keeps up to ``max(32, 2 * CPUs)`` pages a CPU and kind apart from the sum, older ones 64 pages a thread
    and kind, taken here as often as there are CPUs (source: the kernel's ``percpu_counter_batch`` and
    ``TASK_RSS_EVENTS_THRESH``). A bound by design; typical errors are a tenth of it.

    :param cpus: CPUs that may hold such a rest: those the process runs on.
    """
    return _COUNTERS * counter_batch_pages() * cpus * PAGE


def counter_batch_pages() -> int:
    """Pages of one kind that a CPU (before Linux 6.2: a thread) counts before it hands them on to the process's sum."""
    return max(32, 2 * (os.cpu_count() or 1)) if _kernel() >= _PER_CPU_COUNTERS else 64


def _kernel() -> tuple[int, int]:
    if not hasattr(os, "uname"):
        return (0, 0)
    major, _, rest = os.uname().release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


# ------------------------------------------------------------------------------------------------------- what is left


class SampledPeak:
    """What another process saw, looking once a millisecond."""

    method: MemoryMethod = "sampler"
    resolution_bytes: int | None = None  # a spike between two looks leaves no trace
    waits = True

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    @classmethod
    def start(cls, files: MemoryFiles) -> SampledPeak:
        """Start the process that looks.

        :raises OSError: if it cannot be started.
        """
        from .sampler import Sampler

        if files.statm < 0:
            raise OSError(f"{files.paths.statm} cannot be read")
        return cls(Sampler(files.statm))

    @property
    def helper_pid(self) -> int:
        return self._sampler.pid

    def reset(self) -> None:
        self._sampler.mark(go_on=True)

    def learn(self, maxrss_kib: int, sizes: bytes) -> None:
        pass

    def peak(self, maxrss_kib: int) -> int:
        return self._sampler.mark(go_on=True)

    def idle(self) -> None:
        self._sampler.mark(go_on=False)

    def close(self) -> None:
        self._sampler.close()


class LifetimePeak:
    """The peak since the process began."""

    method: MemoryMethod = "lifetime"
    waits = False
    helper_pid = 0

    def __init__(self, files: MemoryFiles) -> None:
        """See what the system tells.

        :raises OSError: if it tells nothing that can be trusted.
        """
        self._files = files
        self.resolution_bytes: int | None = PAGE
        if sys.platform == "linux":
            files.hwm()  # ru_maxrss may be that of the program that started this one
            self.resolution_bytes = counter_resolution_bytes(affinity_count())
        elif not HAS_RUSAGE:
            raise OSError("this system does not tell a process's peak memory through the standard library")

    def reset(self) -> None:
        pass

    def learn(self, maxrss_kib: int, sizes: bytes) -> None:
        pass

    def peak(self, maxrss_kib: int) -> int:
        if sys.platform == "linux":
            return self._files.hwm()
        return maxrss_kib if sys.platform == "darwin" else maxrss_kib * 1024  # macOS counts in bytes

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass


class NoPeak:
    """Where nothing can be known: every peak raises with the reason."""

    method: MemoryMethod = ""
    resolution_bytes: int | None = None
    waits = False
    helper_pid = 0

    def __init__(self, why: str) -> None:
        self._why = why

    def reset(self) -> None:
        pass

    def learn(self, maxrss_kib: int, sizes: bytes) -> None:
        pass

    def peak(self, maxrss_kib: int) -> int:
        raise OSError(self._why)

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenSource:
    """The best way to a peak that this system allows."""

    source: PeakSource
    refused: tuple[str, ...]
    """Why each better way was not taken, best first."""


def choose_source(files: MemoryFiles) -> ChosenSource:
    """Try the ways in order: high-water mark, sampler, lifetime."""
    refused: list[str] = []
    ways: tuple[Callable[[MemoryFiles], PeakSource], ...] = (HighWaterMark, SampledPeak.start, LifetimePeak)
    for way in ways:
        try:
            return ChosenSource(source=way(files), refused=tuple(refused))
        except (OSError, ValueError, AttributeError, ImportError) as error:  # the last two: not a POSIX system
            refused.append(f"{_WAY_NAMES[len(refused)]}: {explain(error)}")
    return ChosenSource(source=NoPeak("; ".join(refused)), refused=tuple(refused))


def explain(error: Exception) -> str:
    """An error in words, without its number: ``/proc/self/clear_refs: Permission denied``."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


_FIRST: Final = Missing("it is the first inference of its process: growth needs one before it (--llmci-warmup=1)")
_WAY_NAMES: Final = ("high-water mark", "sampler", "lifetime peak")


class MemoryInstrument:
    """Resident memory of the process: before, and at its highest."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="peak_rss",
            unit="B",
            direction="lower",
            deterministic=True,
            group="memory",
            label="peak RAM",
            definition="Highest resident memory of the model's process during the inference.",
            excludes="child processes, GPU memory, the page cache that is not mapped",
            source="VmHWM after a reset (hwm); else statm every 1 ms (sampler); else the process's peak (lifetime)",
        ),
        MetricDef(
            name="rss_before",
            unit="B",
            direction="none",
            deterministic=True,
            group="memory",
            label="RAM before",
            definition="Resident memory of the model's process right before the inference.",
            excludes="weights that are mapped from a file and were not touched yet",
            source="/proc/self/statm",
        ),
        MetricDef(
            name=GROWTH,
            unit="B",
            direction="lower",
            deterministic=True,
            scope="memory",
            group="memory",
            label="RAM growth",
            definition="Peak resident memory minus resident memory before the inference, where freed memory is handed back at once.",
            excludes="nothing that the inference allocates: the allocator of the pass keeps no block of 64 KiB or more for reuse",
            source="peak_rss - rss_before, in a process with MALLOC_MMAP_THRESHOLD_=MALLOC_TRIM_THRESHOLD_=65536 (--llmci-memory)",
        ),
        MetricDef(
            name="rss_growth",
            unit="B",
            direction="lower",
            group="memory",
            label="RAM kept",
            definition="Resident memory before the inference, less that before the one before it in the same process.",
            excludes="nothing: its mean over rounds is the slope of a leak, single values scatter with the allocator",
            source="rss_before of two inferences in a row, warm-ups included",
        ),
    )

    def __init__(self) -> None:
        self._before: Reading = _FIRST

    def read(self, figures: Figures) -> dict[str, Reading]:
        """The metrics of a region that has ended; to be read once for each inference of the process, in their order."""
        earlier, before = self._before, figures.rss_before
        self._before = before
        values = memory_values(figures.peak_rss, before, figures.memory_method)
        if isinstance(before, Missing):
            values["rss_growth"] = before
        else:
            values["rss_growth"] = earlier if isinstance(earlier, Missing) else before - earlier
        return values


def memory_values(peak: Reading, before: Reading, method: MemoryMethod) -> dict[str, Reading]:
    """The memory metrics of a region, in bytes.

    :param peak: highest resident memory.
    :param before: resident memory at the begin.
    :param method: how the peak was found.
    """
    delta: Reading
    if isinstance(peak, Missing):
        delta = peak
    elif isinstance(before, Missing):
        delta = before
    elif method == "lifetime":
        delta = Missing("the peak is that of the process's whole life; its growth in this block is not known")
    else:
        delta = peak - before
    return {"peak_rss": peak, "rss_before": before, GROWTH: delta}
