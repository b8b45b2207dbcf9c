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

_NO_SCHEDSTAT: Final = Missing("run-queue statistics (/proc/self/task/*/schedstat) cannot be read here")
_NO_PRESSURE: Final = Missing("this kernel tells no pressure (/proc/pressure/cpu)")


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
        self._files: dict[str, OwnedFile] = {}
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
        """Thread -> nanoseconds it has waited for a CPU so far; the files of living threads stay open."""
        try:
            threads = os.listdir(self._tasks)
        except OSError:
            return {}
        if len(threads) < len(self._files):
            for gone in self._files.keys() - set(threads):
                self._files.pop(gone).close()
        found: dict[str, int] = {}
        for thread in threads:
            try:
                file = self._files.get(thread)
                if file is None:
                    file = self._files[thread] = OwnedFile(f"{self._tasks}/{thread}/schedstat")
                found[thread] = int(file.read(64).split()[1])
            except (OSError, IndexError, ValueError, AttributeError):  # it ended meanwhile, or nothing is kept here
                lost = self._files.pop(thread, None)
                if lost is not None:
                    lost.close()
        return found

    def _read_pressure_us(self) -> int | None:
        try:
            if self._pressure is None:
                self._pressure = OwnedFile(self._pressure_path)
            line = self._pressure.read(160).partition(b"\n")[0]
            return int(line.rpartition(b"total=")[2])
        except (OSError, ValueError, AttributeError):
            return None
