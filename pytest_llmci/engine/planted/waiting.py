"""Waiting: a rival on the same core, two threads on one core, pages that must be read."""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...backends.base import Stamp
from ...clock import outside_s
from ...measure.noise import NOISY_SHARE
from ...records import Missing
from .base import Sighting, Truth, burn, measure, reported
from .cpu import Crew, begin_clocks, end_clocks

BURN_S: Final = 0.2
PRESSURE_S: Final = 0.3
MOST_CORES: Final = 16
RIVAL_S: Final = 20  # it ends by itself should nobody end it
PAGES: Final = 16
_STRIDE: Final = 1 << 20  # further than the kernel reads ahead or maps around
EDGE_SHARE: Final = 0.01  # interrupts are neither CPU time of the thread nor a wait
_NO_PINNING: Final = Missing("this system cannot bind a process to one core")
_NO_PROC: Final = Missing("this system has no /proc to compare with")


@contextmanager
def bound_to_one_core() -> Iterator[int]:
    """Run on one core only, the last of those that are allowed."""
    before = os.sched_getaffinity(0)
    cpu = max(before)
    os.sched_setaffinity(0, {cpu})
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def rival(cpu: int) -> Iterator[None]:
    """A process that never waits, on that core."""
    code = (
        f"import os, time; os.sched_setaffinity(0, [{cpu}]); end = time.monotonic() + {RIVAL_S}; print(flush=True)\n"
        "while time.monotonic() < end: pass"
    )
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        yield
    finally:
        child.kill()
        child.communicate()


@dataclass(frozen=True, slots=True)
class _Mark:
    """What another door shows at one moment."""

    at_s: float
    cpu_s: float
    """CPU time of this thread, by its own clock."""
    switches: int
    """Preemptions of all threads of this process."""

    @property
    def not_running_s(self) -> float:
        return self.at_s - self.cpu_s


def _mark(clocks: Callable[[], tuple[float, float]]) -> _Mark:
    at_s, cpu_s = clocks()
    return _Mark(at_s=at_s, cpu_s=cpu_s, switches=_switches())


def _switches() -> int:
    """Out of the threads' own files; the instrument asks ``getrusage``."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            text = (task / "status").read_text("ascii", "replace")
            found += int(text.rpartition("nonvoluntary_ctxt_switches:")[2].split()[0])
    return found


class OtherWork:
    """Whether others had work for the CPUs since it was made."""

    def __init__(self) -> None:
        self._begin = outside_s(), _pressure_s()

    def doubt(self) -> str:
        """How, in words; empty if they had none that counts."""
        begin_s, begin_pressure = self._begin
        pressure = _pressure_s()
        if pressure is None or begin_pressure is None:
            load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, os.cpu_count() or 1
            return f"the load average was {load:.1f} on {cores} cores" if load > cores else ""
        share = (pressure - begin_pressure) / max(1e-9, outside_s() - begin_s)
        return f"somebody waited for a CPU {share:.0%} of the time" if share > NOISY_SHARE else ""


def _pressure_s() -> float | None:
    try:
        line = Path("/proc/pressure/cpu").read_text("ascii").partition("\n")[0]
        return int(line.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None


def plant_rival() -> Sequence[Sighting] | Missing:
    """CPU time on a core that a rival wants as well: what is not spent on it is run delay."""
    if not hasattr(os, "sched_setaffinity"):
        return _NO_PINNING
    outer: list[_Mark] = []
    inner: list[_Mark] = []

    def act(_stamp: Stamp) -> None:
        inner.append(_mark(begin_clocks))
        burn(BURN_S)
        inner.append(_mark(end_clocks))

    burn(0.001)
    with bound_to_one_core() as cpu, rival(cpu):
        record = measure(act, before=lambda: outer.append(_mark(begin_clocks)))
        told = _mark(end_clocks)
    asked, (begin, end) = outer[-1], inner[-2:]
    wall, spent = end.at_s - begin.at_s, end.cpu_s - begin.cpu_s
    waited = end.not_running_s - begin.not_running_s
    # A turn of the rival may fall between these marks and the instrument's own readings.
    edges = told.not_running_s - asked.not_running_s - waited
    slack = edges + EDGE_SHARE * wall
    doubt = "the hypervisor took time meanwhile" if record.values.get("steal", 0) else ""
    return [
        Sighting(
            metric="run_delay", planted=waited, reported=reported(record, "run_delay"), tolerance=slack, doubt=doubt
        ),
        Sighting(metric="net_time", planted=spent, reported=reported(record, "net_time"), tolerance=slack, doubt=doubt),
        Sighting(
            metric="involuntary_switches",
            planted=end.switches - begin.switches,
            reported=reported(record, "involuntary_switches"),
            tolerance=told.switches - asked.switches - (end.switches - begin.switches),
        ),
    ]


def plant_shared_core() -> Sequence[Sighting] | Missing:
    """Two threads that want the same core: each waits while the other runs."""
    if not hasattr(os, "sched_setaffinity"):
        return _NO_PINNING
    burn(0.001)
    crews: list[Crew] = []
    outer: list[_Mark] = []
    inner: list[_Mark] = []

    def prepare() -> None:
        for crew in crews:
            crew.close()
        crews.append(Crew(1, BURN_S / 2))
        outer.append(_mark(begin_clocks))

    def act(_stamp: Stamp) -> None:
        inner.append(_mark(begin_clocks))
        crews[-1].send()
        burn(BURN_S)  # longer than the other, so that this one never sleeps
        inner.append(_mark(end_clocks))
        crews[-1].wait()

    try:
        with bound_to_one_core():
            record = measure(act, before=prepare)
            told = _mark(end_clocks)
    finally:
        for crew in crews:
            crew.close()
    (begin, end), crew = inner[-2:], crews[-1]
    mine = end.not_running_s - begin.not_running_s
    waited = mine + crew.waited_s[0] + crew.woke_s[0]
    # Before its first instruction the other may have waited for the core, or slept until the interpreter's lock was free.
    slack = told.not_running_s - outer[-1].not_running_s - mine + crew.woke_s[0] + EDGE_SHARE * waited
    return [
        Sighting(
            metric="run_delay_all",
            planted=waited,
            reported=reported(record, "run_delay_all"),
            tolerance=slack,
            doubt="the hypervisor took time meanwhile" if record.values.get("steal", 0) else "",
        )
    ]


def plant_pressure() -> Sequence[Sighting] | Missing:
    """Two busy processes on each core, so that somebody waits on each; the kernel averages over those that are in use."""
    if not hasattr(os, "sched_setaffinity"):
        return _NO_PINNING
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > MOST_CORES:
        return Missing(f"with more than {MOST_CORES} cores it would take too many busy processes")
    asked: list[float] = []
    spans: list[float] = []

    def act(_stamp: Stamp) -> None:
        begin = outside_s()
        time.sleep(PRESSURE_S)
        spans.append(outside_s() - begin)

    with contextlib.ExitStack() as rivals:
        for cpu in cpus * 2:
            rivals.enter_context(rival(cpu))
        record = measure(act, before=lambda: asked.append(outside_s()))
        told = outside_s()
    value, wall = reported(record, "cpu_pressure"), spans[-1]
    is_low = not isinstance(value, Missing) and value < wall
    doubt = "cores that this process may not use were busy, and nobody waited there" if is_low else ""
    slack = told - asked[-1] - wall + EDGE_SHARE * wall
    return [Sighting(metric="cpu_pressure", planted=wall, reported=value, tolerance=slack, doubt=doubt)]


def plant_page_ins() -> Sequence[Sighting] | Missing:
    """Pages of a new file that nobody has read yet."""
    if not Path("/proc/self/stat").exists():
        return _NO_PROC
    counts: list[int] = []
    with tempfile.TemporaryFile() as file:

        def act(_stamp: Stamp) -> None:
            os.ftruncate(file.fileno(), 0)  # what the warm-up read is forgotten
            os.ftruncate(file.fileno(), PAGES * _STRIDE)
            with mmap.mmap(file.fileno(), PAGES * _STRIDE, prot=mmap.PROT_READ) as view:
                view.madvise(mmap.MADV_RANDOM)
                counts.append(_page_ins())
                for number in range(PAGES):
                    view[number * _STRIDE]
                counts.append(_page_ins())

        record = measure(act, before=lambda: counts.append(_page_ins()))
        counts.append(_page_ins())
    asked, begin, end, told = counts[-4:]
    happened = end - begin
    if not happened:
        return Missing("the folder for temporary files is in memory: nothing has to be read from a disk there")
    value = reported(record, "major_faults")
    doubt = "" if happened == PAGES else f"the kernel read {happened} pages"
    return [
        Sighting(metric="major_faults", planted=PAGES, reported=value, tolerance=told - asked - happened, doubt=doubt)
    ]


def _page_ins() -> int:
    return int(Path("/proc/self/stat").read_text("ascii", "replace").rpartition(")")[2].split()[9])


TRUTHS: Final = (
    Truth(
        name="about 200 ms of CPU time on a core that a busy process wants as well",
        metrics=("run_delay", "net_time", "involuntary_switches"),
        plant=plant_rival,
    ),
    Truth(
        name="two threads on one core, of about 100 and 200 ms CPU time",
        metrics=("run_delay_all",),
        plant=plant_shared_core,
    ),
    Truth(
        name="two busy processes on each core for 300 ms",
        metrics=("cpu_pressure",),
        plant=plant_pressure,
    ),
    Truth(name="16 pages of a file that was never read", metrics=("major_faults",), plant=plant_page_ins),
)
