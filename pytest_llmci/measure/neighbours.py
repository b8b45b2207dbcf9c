"""What the machine's other work did to a round: waits of the process's helper threads, and pressure on the CPUs.

These readings cost more than those of ``region.py`` (a system call a thread), so they stand outside of the timed region: a
few microseconds earlier and later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import get_ident, get_native_id
from typing import ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import Reading, RoundFacts
from .noise import OwnedFile
from .region import PROCESS_METER

_GONE: Final = (OSError, AttributeError)  # it ended meanwhile, nothing is kept here, or no os.pread
_NO_SCHEDSTAT: Final = Missing("run-queue statistics (/proc/self/task/*/schedstat) cannot be read here")
_NOTHING: Final = b"0 0 0"
_NONE: Final[dict[str, bytes]] = {}
_NO_PRESSURE: Final = Missing("this kernel tells no pressure (/proc/pressure/cpu)")


def _waited_ns(text: bytes) -> int:
    """Second field of a ``schedstat``."""
    return int(text.split(None, 2)[1])


def _pressed_us(text: bytes) -> int:
    """``total`` of the line ``some`` of the file on pressure."""
    return int(text[text.find(b"total=") + 6 : text.find(b"\n")])


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
        self._folder: OwnedFile | None = None
        """Of the threads."""
        self._files: dict[str, OwnedFile] = {}
        """Of each thread but the generating one, whose waits the region knows."""
        self._threads = -1
        """How many there are, with it; -1 until they were listed."""
        self._is_alone = False
        self._thread = 0
        """Which thread generated when they were listed."""
        self._forks = PROCESS_METER.epoch
        self._before: dict[str, bytes] = {}
        self._after: dict[str, bytes] = {}
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
        return {"run_delay_all": self._delay(facts.run_delay_ns), "cpu_pressure": self._pressed_ns()}

    def _delay(self, own_ns: Reading) -> Reading:
        if isinstance(own_ns, Missing):
            return own_ns
        if not self._after:
            return own_ns if self._is_alone else _NO_SCHEDSTAT
        total = own_ns
        try:
            for thread, text in self._after.items():
                # A thread that began in between has waited only since then.
                total += _waited_ns(text) - _waited_ns(self._before.get(thread, _NOTHING))
        except (IndexError, ValueError):
            return _NO_SCHEDSTAT
        return total

    def _pressed_ns(self) -> Reading:
        before, after = self._pressures
        try:
            pressed_us = _pressed_us(after)
            return (pressed_us - _pressed_us(before)) * 1000 if before != after else 0
        except ValueError:
            return _NO_PRESSURE

    def _waits(self) -> dict[str, bytes]:
        """What the files of the living threads say; they stay open.

        Listing the threads costs more than all the rest, so it is done only where they may be others than last time. A
        thread that ended takes its file with it, so as many threads as files, all readable, are the same threads.
        """
        folder = self._folder
        # A forked child has threads of its own, and one that generates in another thread has other ones beside it.
        if folder is None or self._forks != PROCESS_METER.epoch or self._thread != get_ident():
            return self._list_waits()
        try:
            # One link each, and two of the folder's own; file systems that do not count them never show so many.
            if os.fstat(folder.fd).st_nlink - 2 == self._threads:
                return {thread: file.read(64) for thread, file in self._files.items()} if self._files else _NONE
        except _GONE:
            pass
        return self._list_waits()

    def _list_waits(self) -> dict[str, bytes]:
        self._threads, self._is_alone, self._thread = -1, False, get_ident()
        try:
            threads = os.listdir(self._tasks)
        except OSError:
            return {}
        if self._folder is None or self._forks != PROCESS_METER.epoch:
            self._folder, self._forks = OwnedFile(self._tasks), PROCESS_METER.epoch
        others = [thread for thread in threads if thread != str(get_native_id())]
        for gone in self._files.keys() - set(others):
            self._files.pop(gone).close()
        found: dict[str, bytes] = {}
        for thread in others:
            try:
                file = self._files.get(thread)
                if file is None:
                    file = self._files[thread] = OwnedFile(f"{self._tasks}/{thread}/schedstat")
                found[thread] = file.read(64)
            except _GONE:
                lost = self._files.pop(thread, None)
                if lost is not None:
                    lost.close()
        self._threads, self._is_alone = len(self._files) + len(threads) - len(others), not others
        return found

    def _pressure_text(self) -> bytes:
        try:
            if self._pressure is None:
                self._pressure = OwnedFile(self._pressure_path)
            return os.pread(self._pressure.fd, 160, 0)
        except _GONE:
            return b""
