"""What the machine's other work did to a round: waits of the process's helper threads, and pressure on the CPUs.

These readings cost more than those of ``region.py`` (a system call a thread), so they stand outside of the timed region: a
few microseconds earlier and later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import Reading, RoundFacts
from .noise import OwnedFile

_GONE: Final = (OSError, IndexError, ValueError, AttributeError)  # it ended meanwhile, or nothing is kept here
_NO_SCHEDSTAT: Final = Missing("run-queue statistics (/proc/self/task/*/schedstat) cannot be read here")
_NO_PRESSURE: Final = Missing("this kernel tells no pressure (/proc/pressure/cpu)")


class _Folder(OwnedFile):
    """A folder that stays open."""

    def count(self) -> int:
        """Folders in it, by its number of links; less than none on a file system that does not count them."""
        return os.fstat(self._fd).st_nlink - 2


def _waited_ns(file: OwnedFile) -> int:
    return int(file.read(64).split()[1])


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
        self._process = os.getpid()
        self._delays: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self._pressures: tuple[int | None, int | None] = (None, None)

    def start(self) -> None:
        """Take the readings before the region."""
        self._delays = (self._read_delays(), {})
        self._pressures = (self._read_pressure_us(), None)

    def stop(self) -> None:
        """Take the readings after the region."""
        self._pressures = (self._pressures[0], self._read_pressure_us())
        self._delays = (self._delays[0], self._read_delays())

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        """The metrics of the round that was stopped last."""
        (before, after), (pressed, pressed_later) = self._delays, self._pressures
        delay: Reading = _NO_SCHEDSTAT
        if after:
            # A thread that began in between has waited only since then.
            delay = sum(waited - before.get(thread, 0) for thread, waited in after.items())
        pressure: Reading = _NO_PRESSURE
        if pressed is not None and pressed_later is not None:
            pressure = (pressed_later - pressed) * 1000
        return {"run_delay_all": delay, "cpu_pressure": pressure}

    def _read_delays(self) -> dict[str, int]:
        """Thread -> nanoseconds it has waited for a CPU so far; the files of living threads stay open.

        Listing the threads costs more than all the rest, so it is done only where they may be others than last time. A
        thread that ended takes its file with it, so as many threads as files, all readable, are the same threads.
        """
        if self._count_threads() == len(self._files):
            try:
                return {thread: _waited_ns(file) for thread, file in self._files.items()}
            except _GONE:
                pass
        return self._list_delays()

    def _count_threads(self) -> int:
        """How many threads there are; -1 where that is not known without listing them."""
        if self._folder is None or os.getpid() != self._process:  # a forked child has threads of its own
            return -1
        return self._folder.count()

    def _list_delays(self) -> dict[str, int]:
        try:
            threads = os.listdir(self._tasks)
        except OSError:
            return {}
        self._keep_folder()
        for gone in self._files.keys() - set(threads):
            self._files.pop(gone).close()
        found: dict[str, int] = {}
        for thread in threads:
            try:
                file = self._files.get(thread)
                if file is None:
                    file = self._files[thread] = OwnedFile(f"{self._tasks}/{thread}/schedstat")
                found[thread] = _waited_ns(file)
            except _GONE:
                lost = self._files.pop(thread, None)
                if lost is not None:
                    lost.close()
        return found

    def _keep_folder(self) -> None:
        if self._folder is None or os.getpid() != self._process:
            self._folder, self._process = _Folder(self._tasks), os.getpid()

    def _read_pressure_us(self) -> int | None:
        try:
            if self._pressure is None:
                self._pressure = OwnedFile(self._pressure_path)
            line = self._pressure.read(160).partition(b"\n")[0]
            return int(line.rpartition(b"total=")[2])
        except (OSError, ValueError, AttributeError):
            return None
