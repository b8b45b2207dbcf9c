"""What the machine's other work did to a round: waits of the process's helper threads, and pressure on the CPUs.

These readings cost more than those of ``region.py`` (a system call a thread), so they stand outside of the timed region: a
few microseconds earlier and later.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import Reading, RoundFacts
from .noise import OwnedFile
from .region import PROCESS_METER

_GONE: Final = (OSError, AttributeError)  # it ended meanwhile, nothing is kept here, or no os.pread
_NO_SCHEDSTAT: Final = Missing("run-queue statistics (/proc/self/task/*/schedstat) cannot be read here")
_NO_PRESSURE: Final = Missing("this kernel tells no pressure (/proc/pressure/cpu)")


class _Folder(OwnedFile):
    """A folder that stays open."""

    def count(self) -> int:
        """Folders in it, by its number of links; less than none on a file system that does not count them."""
        return os.fstat(self.number).st_nlink - 2


@dataclass(slots=True)
class _Waits:
    """What the kernel wrote of each thread, in the same order as the threads."""

    threads: list[str]
    texts: list[bytes]

    def by_thread(self) -> dict[str, int]:
        """Nanoseconds that each has waited for a CPU so far; what is not readable is left out."""
        found: dict[str, int] = {}
        for thread, text in zip(self.threads, self.texts, strict=True):
            with contextlib.suppress(IndexError, ValueError):
                found[thread] = int(text.split(None, 2)[1])
        return found


class NeighboursInstrument:
    """Run delay over all threads, and CPU pressure of the machine."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="run_delay_all",
            unit="s",
            direction="none",
            stored="ns",
            group="noise",
            label="run delay (all)",
            definition="Time that threads of the process were ready to run but had no CPU, summed over all threads.",
            excludes="threads that ended during the inference",
            source="/proc/self/task/*/schedstat, second field",
        ),
        MetricDef(
            name="cpu_pressure",
            unit="s",
            direction="none",
            stored="ns",
            group="noise",
            label="CPU pressure",
            definition="Time during the inference in which some task of the machine waited for a CPU.",
            excludes="nothing: this process's own waits are in it",
            source="/proc/pressure/cpu, total of the line some",
        ),
    )

    def __init__(self, tasks: str = "/proc/self/task", pressure: str = "/proc/pressure/cpu") -> None:
        """Nothing is opened yet.

        :param tasks: folder with a folder for each thread.
        :param pressure: the kernel's file on CPU pressure.
        """
        self._tasks = tasks
        self._pressure_path = pressure
        self._pressure: OwnedFile | None = None
        self._folder: _Folder | None = None
        self._files: dict[str, OwnedFile] = {}
        self._threads: list[str] = []
        """As in the files, and in their order."""
        self._forks = PROCESS_METER.epoch
        self._before = self._after = _Waits([], [])
        self._pressures: tuple[bytes, bytes] = (b"", b"")

    def start(self) -> None:
        """Take the readings before the region."""
        self._before = self._waits()
        self._pressures = (self._pressure_text(), b"")

    def stop(self) -> None:
        """Take the readings after the region."""
        self._pressures = (self._pressures[0], self._pressure_text())
        self._after = self._waits()

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        """The metrics of the round that was stopped last."""
        return {"run_delay_all": self._delay(), "cpu_pressure": self._pressed_ns()}

    def _delay(self) -> Reading:
        after = self._after.by_thread()
        if not after:
            return _NO_SCHEDSTAT
        before = self._before.by_thread()
        # A thread that began in between has waited only since then.
        return sum(waited - before.get(thread, 0) for thread, waited in after.items())

    def _pressed_ns(self) -> Reading:
        try:
            before, after = (int(text[text.index(b"total=") + 6 : text.index(b"\n")]) for text in self._pressures)
        except ValueError:
            return _NO_PRESSURE
        return (after - before) * 1000

    def _waits(self) -> _Waits:
        """What the files of the living threads say; they stay open.

        Listing the threads costs more than all the rest, so it is done only where they may be others than last time. A
        thread that ended takes its file with it, so as many threads as files, all readable, are the same threads.
        """
        if self._count_threads() == len(self._threads):
            with contextlib.suppress(*_GONE):
                return _Waits(self._threads, [file.read(64) for file in self._files.values()])
        return self._list_waits()

    def _count_threads(self) -> int:
        """How many threads there are; -1 where that is not known without listing them."""
        if self._folder is None or self._forks != PROCESS_METER.epoch:  # a forked child has threads of its own
            return -1
        return self._folder.count()

    def _list_waits(self) -> _Waits:
        try:
            threads = os.listdir(self._tasks)
        except OSError:
            return _Waits([], [])
        if self._folder is None or self._forks != PROCESS_METER.epoch:
            self._folder, self._forks = _Folder(self._tasks), PROCESS_METER.epoch
        for gone in self._files.keys() - set(threads):
            self._files.pop(gone).close()
        found: dict[str, bytes] = {}
        for thread in threads:
            try:
                file = self._files.get(thread)
                if file is None:
                    file = self._files[thread] = OwnedFile(f"{self._tasks}/{thread}/schedstat")
                found[thread] = file.read(64)
            except _GONE:
                lost = self._files.pop(thread, None)
                if lost is not None:
                    lost.close()
        self._threads = list(self._files)
        return _Waits(self._threads, [found[thread] for thread in self._threads])

    def _pressure_text(self) -> bytes:
        try:
            if self._pressure is None:
                self._pressure = OwnedFile(self._pressure_path)
            return self._pressure.read(160)
        except _GONE:
            return b""
