"""The measured region: raw numbers of the kernel, taken in a fixed order around some code.

Begin: fold the peak into the regions that are open; collector off; the steal counter; resident memory; reset of the
high-water mark; ``getrusage``; the run-queue counter, and after it ``getrusage`` again; the clock last. End: the clock first; of a
long block the run-queue counter; ``getrusage``; the peak, resident memory and the counters, as far as ``getrusage`` does not
rule out that they have changed; collector back. So the clock and the CPU time enclose nothing of ours but each other, and what
the thread waits while they are asked is not the block's: Linux takes ``getrusage`` for a chance to give its CPU to another.

Arithmetic is left to the reading, when time no longer counts.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from time import perf_counter_ns
from typing import Final

from ..errors import MeasurementError
from ..quick_records import quickly_made
from ..records import Missing
from .base import Reading
from .cpu import HAS_RUSAGE, Usage, cpu_time_ns, process_usage
from .memory import (
    ChosenSource,
    HighWaterMark,
    MemoryFiles,
    MemoryMethod,
    MemoryPaths,
    PeakSource,
    choose_source,
    explain,
    resident_bytes,
)
from .noise import RunDelay, Steal, StealSample, ThreadDelay, run_delay_ns

LONG_NS: Final = 1_000_000
"""A longer block reads at once what it has waited, which takes some 500 ns; of a shorter one the time until it does is taken off,
so that it may seem to have waited less than it did, by what the thread ran in that time."""
LATE_NS: Final = 50_000
"""That long a reading does not take: the thread was put off its CPU before it."""
_FORKED = Missing("the process forked inside the block, and this is the child: the block did not begin here")
_SHARED = Missing(
    "another thread measured at the same time, and a process has one high-water mark: the peak may be the other's"
)
_MOVED = Missing("the block ended in another thread than it began in")
_NO_RUSAGE = Missing("this system has no getrusage")
_NO_PROC = Missing("resident memory needs Linux's /proc")
_UNREADABLE = (OSError, ValueError, IndexError, AttributeError)  # gone, another's by now, or no such call here


class Meter:
    """Keeps what a process has only one of: the high-water mark, the garbage collector's switch, the open kernel files.

    Regions that are open at the same time share it; a lock covers the moments of begin and end.
    """

    def __init__(
        self,
        paths: MemoryPaths | None = None,
        *,
        choose: Callable[[MemoryFiles], ChosenSource] = choose_source,
    ) -> None:
        """Nothing is opened yet.

        :param paths: where the kernel is asked.
        :param choose: finds the way to a peak, at the first use.
        """
        self._paths = paths or MemoryPaths()
        self._choose = choose
        self.lock = threading.Lock()
        self.open_regions: list[Region] = []
        self.epoch = 0
        """Grows with each fork that this process came from."""
        self.delay = RunDelay()
        self.steal = Steal()
        self.collector_was_on = False
        self.ready: tuple[MemoryFiles, PeakSource] | None = None
        """The kernel's memory files and the way to a peak, once they are open."""
        self._files: MemoryFiles | None = None
        self._chosen: ChosenSource | None = None

    def memory(self) -> tuple[MemoryFiles, PeakSource]:
        """:attr:`ready`, opened and tested at the first use."""
        files, chosen = self._files, self._chosen
        if files is None:
            self._files = files = MemoryFiles(self._paths)
        if chosen is None:
            self._chosen = chosen = self._choose(files)
        self.ready = files, chosen.source
        return self.ready

    def chosen(self) -> ChosenSource:
        """The way to a peak that was taken, and why the better ones were not."""
        with self.lock:
            self.memory()
        assert self._chosen is not None
        return self._chosen

    @property
    def helper_pid(self) -> int:
        """Process that samples memory for this one; 0 where there is none."""
        return self._chosen.source.helper_pid if self._chosen is not None else 0

    def drop_source(self, source: PeakSource) -> None:
        """Give up a way to a peak that broke; the next region chooses again."""
        source.close()
        self._chosen = self.ready = None

    def reopen(self) -> tuple[MemoryFiles, PeakSource]:
        """Open everything anew: the numbers that were kept are no longer ours."""
        if self._files is not None:
            self._files.forget()
        self.delay.forget()
        self.steal.forget()
        self._files = self._chosen = self.ready = None
        return self.memory()

    def close(self) -> None:
        """Let go of files and processes; the next region opens them again."""
        if self._chosen is not None:
            self._chosen.source.close()
        if self._files is not None:
            self._files.close()
        self._files = self._chosen = self.ready = None
        self.steal.close()

    def after_fork_in_child(self) -> None:
        """A child's own files: an inherited ``/proc/self`` file still tells of the parent."""
        if self.open_regions and self.collector_was_on:
            gc.enable()
        self.lock = threading.Lock()
        self.open_regions = []
        self.epoch += 1
        self.close()
        self.delay = RunDelay()
        self.steal = Steal()


PROCESS_METER = Meter()
"""The one of this process: whoever measures here must share it, because the kernel keeps one mark."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS_METER.after_fork_in_child)


def _fold(meter: Meter, source: PeakSource, usage: Usage) -> None:
    """Credit the peak since the last reset to all regions that are open."""
    try:
        peak = source.peak(usage.ru_maxrss)
    except (OSError, ValueError) as error:
        _spoil(meter, source, f"the peak is not known: {explain(error)}")
        return
    for region in meter.open_regions:
        region.fold(peak)


def _not_reset(meter: Meter, source: PeakSource, error: OSError) -> None:
    _spoil(meter, source, f"the peak could not be reset: {explain(error)}")


def _spoil(meter: Meter, source: PeakSource, why: str) -> None:
    for region in meter.open_regions:
        region.spoil(why)
    if source.waits:
        meter.drop_source(source)


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What the kernel says of a region that has ended."""

    wall_ns: int
    cpu_ns: Reading
    """Of the process, all threads."""
    run_delay_ns: Reading
    """Time that its thread was ready to run and had no CPU."""
    steal_ns: Reading
    """Time that a hypervisor took, over all CPUs."""
    involuntary_switches: Reading
    """Preemptions of all threads."""
    major_faults: Reading
    """Pages read from disk."""
    peak_rss: Reading
    """Highest resident memory, in bytes."""
    rss_before: Reading
    """Resident memory at the begin, in bytes."""
    memory_method: MemoryMethod
    peak_rss_resolution_bytes: int | None
    """How far the peak may be off; None where that has no bound."""


def _gone(wall_ns: int, source: PeakSource) -> Figures:
    """Of a region that was left behind by a fork."""
    return Figures(
        wall_ns=wall_ns,
        cpu_ns=_FORKED,
        run_delay_ns=_FORKED,
        steal_ns=_FORKED,
        involuntary_switches=_FORKED,
        major_faults=_FORKED,
        peak_rss=_FORKED,
        rss_before=_FORKED,
        memory_method=source.method,
        peak_rss_resolution_bytes=source.resolution_bytes,
    )


class Region:
    """One stretch of time under the instruments. Begins and ends once; is read after its end."""

    __slots__ = (
        "_begin_ns",
        "_begin_usage",
        "_delay_begin",
        "_delay_end",
        "_end_ns",
        "_end_usage",
        "_epoch",
        "_forked",
        "_late_ns",
        "_left",
        "_mark",
        "_memory_reason",
        "_meter",
        "_moved",
        "_pauses_collector",
        "_peak",
        "_sizes_begin",
        "_sizes_end",
        "_source",
        "_steal",
        "_steal_begin",
        "_waits",
        "ended",
        "shared",
        "thread",
    )

    _begin_usage: Usage
    _left: int
    """How often threads of the process had left a CPU at the begin."""
    _end_usage: Usage
    _mark: HighWaterMark | None
    _source: PeakSource
    _steal: Reading
    _steal_begin: StealSample
    _waits: ThreadDelay

    def __init__(self, meter: Meter = PROCESS_METER, *, pauses_collector: bool = True) -> None:
        """:param pauses_collector: False leaves the garbage collector on, for work that is long and rich in objects."""
        self._meter = meter
        self._pauses_collector = pauses_collector
        self._peak = 0
        self._memory_reason = ""
        self._forked = False
        self._begin_ns = -1
        self._late_ns = 0
        self.ended = False
        self.shared = False
        """True where another thread had a region open at the same time."""

    # ------------------------------------------------------------------------------------------- begin and end
    #
    # What these two cost is what every measured block pays. They are written out where a call would cost as much as what it
    # does, and keep what the kernel writes as it is: it is read when time no longer counts.

    def begin(self) -> None:
        """Start measuring.

        :raises MeasurementError: if it has begun before.
        """
        if self._begin_ns >= 0:
            raise MeasurementError("a measured block begins only once")
        meter = self._meter
        self.thread = get_ident()
        self._epoch = meter.epoch
        meter.lock.acquire()
        try:
            self._begin_locked(meter)
        except BaseException:
            self._leave(meter)
            raise
        finally:
            meter.lock.release()
        self._begin_ns = perf_counter_ns()

    def end(self) -> None:
        """Stop measuring.

        :raises MeasurementError: if it has not begun, or has ended before.
        """
        end_ns = perf_counter_ns()
        if self._begin_ns < 0 or self.ended:
            raise MeasurementError("a measured block ends once, after it has begun")
        try:
            early = self._waits.raw() if end_ns - self._begin_ns > LONG_NS else b""
            usage = process_usage()  # as at the begin, the thread may be put off its CPU here
        except BaseException:
            self.ended = True
            with self._meter.lock:
                self._leave(self._meter)
            raise
        self.ended = True
        self._end_ns = end_ns
        self._end_usage = usage
        self._delay_end = early
        self._moved = get_ident() != self.thread
        meter = self._meter
        if self._epoch != meter.epoch:
            self._forked = True  # a child has left every region behind
            return
        meter.lock.acquire()
        try:
            self._end_locked(meter, usage)
        finally:
            self._leave(meter)
            meter.lock.release()

    def _begin_locked(self, meter: Meter) -> None:
        files, source = meter.ready or meter.memory()
        if meter.open_regions:
            self._join_others(meter, source)
        elif self._pauses_collector:
            meter.collector_was_on = gc.isenabled()
            gc.disable()
        else:
            meter.collector_was_on = False
        meter.open_regions.append(self)
        if source.waits:
            try:
                source.reset()
            except OSError as error:
                _not_reset(meter, source, error)
        self._steal_begin = meter.steal.begin(perf_counter_ns())
        try:
            self._sizes_begin = sizes = files.sizes()
        except _UNREADABLE:
            source, sizes = self._sizes_again(meter)
        self._source = source
        if not source.waits:
            try:
                source.reset()
            except OSError as error:
                _not_reset(meter, source, error)
        # The kernel may take this for the end of the thread's turn. What it waits then is not the block's, so waits are read after it.
        usage = process_usage()
        left = usage.ru_nvcsw + usage.ru_nivcsw
        waits = meter.delay.here()
        if waits.kept and left == waits.left:
            self._delay_begin = waits.kept
        else:
            self._delay_begin = waits.raw()
            usage = process_usage()  # again: what was asked in between is not the block's either
            now = usage.ru_nvcsw + usage.ru_nivcsw
            waits.kept = self._delay_begin if now == left == waits.left else b""
            left = now
        self._begin_usage = usage
        self._left = left
        self._waits = waits
        source.learn(usage.ru_maxrss, sizes)
        self._mark = source if isinstance(source, HighWaterMark) and source.own else None

    def _end_locked(self, meter: Meter, usage: Usage) -> None:
        files, source = meter.ready or meter.memory()
        alone = len(meter.open_regions) == 1
        if not source.waits and (self._mark is None or not alone):
            _fold(meter, source, usage)
        # A thread waits for a CPU only after it has left one: where none of the process did, this one has not waited.
        left, waits = usage.ru_nvcsw + usage.ru_nivcsw, self._waits
        waits.left = left
        if left == self._left > 0:
            self._delay_end = self._delay_begin
        else:
            waits.kept = b""
            if not self._delay_end:
                self._late_ns = perf_counter_ns() - self._end_ns  # a wait behind the reading is not in it
                self._delay_end = waits.raw()
        begin = self._begin_usage
        # Memory cannot have grown where no page was faulted in and the kernel's own sum is no larger; sandboxes count no faults at all.
        if (
            usage.ru_minflt == begin.ru_minflt != 0
            and usage.ru_majflt == begin.ru_majflt
            and usage.ru_maxrss == begin.ru_maxrss
        ):
            self._sizes_end = self._sizes_begin
        else:
            try:
                self._sizes_end = files.sizes()
            except _UNREADABLE:
                self._sizes_end = b""
        self._steal = meter.steal.end(self._steal_begin, self._begin_ns, self._end_ns)
        if source.waits:
            _fold(meter, source, usage)
            if alone:
                with contextlib.suppress(OSError):
                    source.idle()

    def _join_others(self, meter: Meter, source: PeakSource) -> None:
        _fold(meter, source, process_usage())  # the reset to come would destroy what they have reached
        for other in meter.open_regions:
            other.lose_mark()
            if other.thread != self.thread:
                other.shared = self.shared = True

    def _leave(self, meter: Meter) -> None:
        if self in meter.open_regions:
            meter.open_regions.remove(self)
            if meter.collector_was_on and not meter.open_regions:
                gc.enable()

    def _sizes_again(self, meter: Meter) -> tuple[PeakSource, bytes]:
        """Resident memory with fresh files: somebody may have closed ours, and their numbers be another's now."""
        self._sizes_begin = b""
        files, source = meter.memory()
        if files.statm >= 0:
            files, source = meter.reopen()
            with contextlib.suppress(*_UNREADABLE):
                self._sizes_begin = files.sizes()
        return source, self._sizes_begin

    def fold(self, peak: int) -> None:
        """Take in the peak of a segment that lay within this region."""
        self._peak = max(self._peak, peak)

    def lose_mark(self) -> None:
        """The high-water mark is reset within this region: what the kernel says at both ends does not tell its peak any more."""
        self._mark = None

    def spoil(self, why: str) -> None:
        """Say that a part of this region has no known peak."""
        self._memory_reason = self._memory_reason or why

    # ----------------------------------------------------------------------------------------- what the end found

    def _waited_ns(self) -> Reading:
        waited = run_delay_ns(self._delay_begin, self._delay_end)
        if self._late_ns <= LATE_NS or isinstance(waited, Missing):
            return waited
        return max(0, waited - self._late_ns)

    def figures(self) -> Figures:
        """What the kernel wrote, in numbers.

        :raises MeasurementError: if the block has not ended.
        """
        if not self.ended:
            raise MeasurementError("the measured block has not ended: read its numbers after the 'with' block")
        source = self._source
        if self._forked:
            return _gone(self._end_ns - self._begin_ns, source)
        begin, end = self._begin_usage, self._end_usage
        rss_before = resident_bytes(self._sizes_begin)
        if self.shared and source.method != "lifetime":
            peak: Reading = _SHARED
        elif self._memory_reason:
            peak = Missing(self._memory_reason)
        else:
            grew = self._sizes_end is not self._sizes_begin
            peak = max(self._peak, rss_before, resident_bytes(self._sizes_end) if grew else rss_before)
            if self._mark is not None:
                peak = max(peak, self._mark.peak_between(begin.ru_maxrss, rss_before, end.ru_maxrss))
        return Figures(
            wall_ns=self._end_ns - self._begin_ns,
            cpu_ns=cpu_time_ns(begin, end),
            run_delay_ns=_MOVED if self._moved else self._waited_ns(),
            steal_ns=self._steal,
            involuntary_switches=end.ru_nivcsw - begin.ru_nivcsw if HAS_RUSAGE else _NO_RUSAGE,
            major_faults=end.ru_majflt - begin.ru_majflt if HAS_RUSAGE else _NO_RUSAGE,
            peak_rss=peak,
            rss_before=rss_before if rss_before >= 0 else _NO_PROC,
            memory_method=source.method,
            peak_rss_resolution_bytes=source.resolution_bytes,
        )
