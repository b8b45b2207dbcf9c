"""Peak memory of the processes that the model's process has started, such as a local server: apart, never added in.

Most models have none, and the kernel says so in half a microsecond (``waitid``). Where there are some, each one's own
high-water mark is reset at the begin and read at the end, so that nothing has to be sampled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import Reading, RoundFacts
from .cpu import children_usage
from .region import PROCESS_METER, Meter

_NOT_LINUX: Final = Missing("peaks of child processes are known on Linux only")
_CAME_AND_WENT: Final = Missing(
    "a child process began or ended during the inference, or began right before it: its peak is not known;"
    " a warm-up (--llmci-warmup=1) lets one start before"
)
_NONE: Final[frozenset[int]] = frozenset()


class ChildrenInstrument:
    """High-water marks of all descendants."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="children_peak_rss",
            unit="B",
            direction="lower",
            group="memory",
            label="RAM of children",
            definition="Highest resident memory of each process that the model's process has started, summed.",
            excludes="the model's process itself; pages that several of them share are counted in each",
            source="/proc/PID/status (VmHWM) after a reset by /proc/PID/clear_refs",
        ),
    )

    def __init__(self, proc: str = "/proc", meter: Meter = PROCESS_METER) -> None:
        """Nothing is opened yet.

        :param proc: where the kernel's files on processes are.
        :param meter: keeper of the process that samples memory, where there is one: it is no child of the model.
        """
        self._proc = proc
        self._meter = meter
        self._begin: frozenset[int] = _NONE
        self._reaped = 0
        """Changes when a child that has run at all is waited for: to start is to fault pages in."""
        self._had_none = False
        """Whether there was no child at the end of the last round, after which :attr:`_reaped` was noted."""
        self._found: Reading = _NOT_LINUX

    def start(self) -> None:
        """Reset the marks of the children that there are."""
        if not sys.platform.startswith("linux"):
            self._found = _NOT_LINUX
            return
        reaped = children_usage().ru_minflt
        if self._had_none and reaped == self._reaped:  # one that has begun since then shows at the end
            self._begin, self._found = _NONE, 0
            return
        self._had_none, self._reaped = False, reaped
        self._begin = self._descendants() if has_children() else _NONE
        refused = [why for child in self._begin if (why := self._reset(child))]
        self._found = Missing(refused[0]) if refused else 0

    def stop(self) -> None:
        """Read the marks."""
        if isinstance(self._found, Missing):
            return
        children = self._descendants() if has_children() else _NONE
        reaped = children_usage().ru_minflt
        if children != self._begin or reaped != self._reaped:
            self._found = _CAME_AND_WENT
        elif children:
            self._found = self._sum(children)
        self._had_none, self._reaped = not children, reaped

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        """The sum, in bytes; 0 without children."""
        return {"children_peak_rss": self._found}

    def _descendants(self) -> frozenset[int]:
        """Ids of the processes that began with this one, however far down; our own sampler is left out."""
        found: set[int] = set()
        new = {*self._children_of(os.getpid())} - {self._meter.helper_pid}
        while new:
            found |= new
            new = {child for parent in new for child in self._children_of(parent)} - found
        return frozenset(found)

    def _children_of(self, pid: int) -> Iterable[int]:
        tasks = f"{self._proc}/{pid}/task"
        try:
            for thread in os.listdir(tasks):
                with open(f"{tasks}/{thread}/children", encoding="ascii") as file:
                    yield from map(int, file.read().split())
        except OSError:  # it ended meanwhile
            return

    def _reset(self, child: int) -> str:
        """Why its mark cannot be reset; empty if it was."""
        path = f"{self._proc}/{child}/clear_refs"
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write("5")
        except OSError as error:
            return f"the high-water mark of a child process cannot be reset: {error.strerror}"
        return ""

    def _sum(self, children: Iterable[int]) -> Reading:
        total = 0
        for child in children:
            try:
                with open(f"{self._proc}/{child}/status", encoding="ascii", errors="replace") as file:
                    total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
            except OSError:
                return _CAME_AND_WENT
        return total  # one that has ended and was not waited for has no memory, and no such line


def has_children() -> bool:
    """Whether this process has a child, alive or not yet waited for (Linux)."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
