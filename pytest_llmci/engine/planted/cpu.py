"""CPU time: loops whose threads read their own clocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ...backends.base import Stamp
from ...clock import outside_s
from ...records import Missing
from ...store.environment import environment
from .base import SLEW, Sighting, Truth, burn, measure, reported

BURN_S: Final = 0.06
SETTLE_LOOKS: Final = 500
ROUNDING_S: Final = 2e-6  # getrusage tells user and system time in whole microseconds each


class Crew:
    """Threads that are there before they are needed and stay until they are let go, so that no start and end counts."""

    def __init__(self, count: int, cpu_s: float) -> None:
        self._go = threading.Event()
        self._leave = threading.Event()
        self._done = threading.Event()
        self._at_work = count
        self._lock = threading.Lock()
        self.spent_s = [0.0] * count
        """CPU time of each, by its own clock."""
        self.waited_s = [0.0] * count
        """Of each: time without a CPU while it worked."""
        self.woke_s = [0.0] * count
        """Of each: time from the call to its first instruction."""
        self._went_s = 0.0
        self._threads = [threading.Thread(target=self._work, args=(number, cpu_s)) for number in range(count)]
        for thread in self._threads:
            thread.start()
        self._settle()

    def send(self) -> None:
        """Have each spend its CPU time from now on."""
        self._went_s = outside_s()
        self._go.set()

    def wait(self) -> None:
        """Wait until all of them have."""
        self._done.wait()

    def close(self) -> None:
        """Let them go."""
        self._go.set()
        self._leave.set()
        for thread in self._threads:
            thread.join()

    def _settle(self) -> None:
        """Wait until all of them sleep: one that is started has still to get there, and may wait for a CPU on its way."""
        for _ in range(SETTLE_LOOKS):
            time.sleep(0.001)
            if all(_sleeps(thread.native_id) for thread in self._threads):
                return

    def _work(self, number: int, cpu_s: float) -> None:
        self._go.wait()
        begin_s, begin_cpu = begin_clocks()
        burn(cpu_s)
        end_s, end_cpu = end_clocks()
        self.spent_s[number] = end_cpu - begin_cpu
        self.waited_s[number] = end_s - begin_s - self.spent_s[number]
        self.woke_s[number] = begin_s - self._went_s
        with self._lock:
            self._at_work -= 1
            if not self._at_work:  # only the last one: who is woken before would wait for a CPU as well
                self._done.set()
        self._leave.wait()


def _sleeps(thread: int | None) -> bool:
    """Whether a thread of this process waits for something else than a CPU; True where nobody tells."""
    try:
        text = Path(f"/proc/self/task/{thread}/stat").read_text("utf-8", "replace")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] == "S"


def plant_burn(threads: int) -> Sequence[Sighting] | Missing:
    """CPU time of a known amount in so many threads besides the one that waits for them."""
    burn(0.001)  # finds out how long that takes
    crews: list[Crew] = []
    asked: list[tuple[float, float]] = []
    begun: list[tuple[float, float]] = []
    ended: list[tuple[float, float]] = []

    def prepare() -> None:
        for crew in crews:
            crew.close()
        crews.append(Crew(threads, BURN_S))
        asked.append(begin_clocks())

    def act(_stamp: Stamp) -> None:
        begun.append(begin_clocks())
        crews[-1].send()
        crews[-1].wait()
        ended.append(end_clocks())

    try:
        record = measure(act, before=prepare)
        told = end_clocks()
    finally:
        for crew in crews:
            crew.close()
    spent = sum(crews[-1].spent_s) + ended[-1][1] - begun[-1][1]
    wall = ended[-1][0] - begun[-1][0]
    # What the loop and the instruments did before and after may or may not be in the reading.
    slack_wall = told[0] - asked[-1][0] - wall
    slack_cpu = told[1] - asked[-1][1] - (ended[-1][1] - begun[-1][1]) + ROUNDING_S
    cores = spent / wall
    slack = cores * (slack_cpu / spent + slack_wall / wall + SLEW)
    allowed = _allowed_cores()
    return [
        Sighting(metric="cpu_time", planted=spent, reported=reported(record, "cpu_time"), tolerance=slack_cpu),
        Sighting(metric="cpu_cores_used", planted=cores, reported=reported(record, "cpu_cores_used"), tolerance=slack),
        Sighting(
            metric="cpu_percent",
            planted=100 * cores / allowed,
            reported=reported(record, "cpu_percent"),
            tolerance=100 * slack / allowed,
        ),
    ]


def begin_clocks() -> tuple[float, float]:
    """Seconds of the outside clock, and of this thread's CPU time, at the begin of something.

    The kernel likes to take the CPU away where a thread asks for its CPU time. So that such a wait falls between begin
    and end, the outside clock is read first here and last at the end.
    """
    return outside_s(), time.thread_time()


def end_clocks() -> tuple[float, float]:
    """The same at its end."""
    spent_s = time.thread_time()
    return outside_s(), spent_s


def _allowed_cores() -> float:
    facts = environment(Path("/"))
    found = [facts["cores_allowed"], facts["cpu_quota_cores"]]
    return min(float(cores) for cores in found if isinstance(cores, int | float))


TRUTHS: Final = tuple(
    Truth(
        name=f"about 60 ms of CPU time in {'one thread' if threads == 1 else 'each of two threads'}",
        metrics=("cpu_time", "cpu_cores_used", "cpu_percent"),
        plant=partial(plant_burn, threads),
    )
    for threads in (1, 2)
)
