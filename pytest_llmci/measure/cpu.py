"""CPU time of the process, by the kernel's own accounting, and the cores it was allowed to use.

A system-wide CPU percentage counts the neighbours and is wrong by hundreds of per cent; nothing here asks for one.
"""

from __future__ import annotations

import os
import sys
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Protocol

from ..metrics import MetricDef
from ..records import Missing
from .base import CLOCK_WENT_BACK, Reading

LEAST_WALL_NS: Final = 200_000  # the two readings of CPU time stand a few microseconds apart from those of the clock


class Usage(Protocol):
    """What is used of ``getrusage``, under its names there."""

    @property
    def ru_utime(self) -> float: ...
    @property
    def ru_stime(self) -> float: ...
    @property
    def ru_maxrss(self) -> int: ...
    @property
    def ru_majflt(self) -> int: ...
    @property
    def ru_nvcsw(self) -> int: ...
    @property
    def ru_nivcsw(self) -> int: ...
    @property
    def ru_minflt(self) -> int: ...


class ClockUsage(NamedTuple):
    """CPU time alone, for systems without ``getrusage``; -1 where the rest would stand."""

    ru_utime: float
    ru_stime: float = 0.0
    ru_maxrss: int = -1
    ru_majflt: int = -1
    ru_nvcsw: int = -1
    ru_nivcsw: int = -1
    ru_minflt: int = -1


if sys.platform == "win32":  # pragma: no cover
    HAS_RUSAGE = False

    def process_usage() -> Usage:
        """The process's CPU time so far."""
        return ClockUsage(time.process_time())

    def children_usage() -> Usage:
        """What children that have been waited for used."""
        return ClockUsage(0.0)

else:
    from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

    HAS_RUSAGE = True

    process_usage = partial(getrusage, RUSAGE_SELF)
    """The process's use of the machine so far, all threads, without children. No function of its own: it is called in each block."""
    children_usage = partial(getrusage, RUSAGE_CHILDREN)
    """What children that have been waited for used."""


def cpu_time_ns(before: Usage, after: Usage) -> int:
    """CPU time between two readings, all threads of the process; the kernel gives whole microseconds."""
    spent_s = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return round(spent_s * 1e6) * 1000


_SHORT: Final = Missing(
    f"the block was shorter than {LEAST_WALL_NS // 1000} us, too short for the CPU clock's microseconds"
)


def cpu_values(cpu_ns: Reading, wall_ns: int) -> dict[str, Reading]:
    """The CPU metrics of a region.

    :param cpu_ns: CPU time spent in it.
    :param wall_ns: how long it took, by the clock readings next to those of the CPU time.
    """
    if isinstance(cpu_ns, Missing):
        return {"cpu_time": cpu_ns, "cpu_cores_used": cpu_ns, "cpu_percent": cpu_ns}
    if wall_ns < LEAST_WALL_NS:
        why = _SHORT if wall_ns >= 0 else CLOCK_WENT_BACK
        return {"cpu_time": cpu_ns, "cpu_cores_used": why, "cpu_percent": why}
    cores = cpu_ns / wall_ns
    return {"cpu_time": cpu_ns, "cpu_cores_used": cores, "cpu_percent": 100.0 * cores / allowed_cores()}


def allowed_cores() -> float:
    """Cores that the process may use: its affinity, and the quota of its control group where that is less."""
    affinity = float(affinity_count())
    quota = cgroup_quota()
    return affinity if quota is None else min(affinity, quota)


def affinity_count() -> int:
    """Number of logical CPUs that the calling thread may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=8)
def cgroup_quota(membership: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> float | None:
    """Cores that the control group's quota allows, version 1 or 2, the smallest among the group and its ancestors.

    :param membership: file that names the groups of the process.
    :param root: where the control groups are mounted.
    :returns: None without a quota.
    """
    try:
        lines = Path(membership).read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    limits: list[float] = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            limits += _limits(Path(root), path, _quota_v2) + _limits(Path(root, "unified"), path, _quota_v2)
        elif "cpu" in controllers.split(","):
            limits += _limits(Path(root, "cpu"), path, _quota_v1)
            limits += _limits(Path(root, controllers), path, _quota_v1) if controllers != "cpu" else []
    return min(limits, default=None)


class _ReadQuota(Protocol):
    def __call__(self, folder: Path) -> float | None: ...


def _limits(mount: Path, path: str, read: _ReadQuota) -> list[float]:
    """The quotas of a group and all above it; in a container the path may be the host's, and only the root is there."""
    inner = Path(path.lstrip("/"))
    folders = [mount / inner, *(mount / parent for parent in inner.parents), mount]
    found = (read(folder) for folder in dict.fromkeys(folders))
    return [quota for quota in found if quota is not None]


def _quota_v2(folder: Path) -> float | None:
    return _ratio(_words(folder / "cpu.max"))


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").split()
    except OSError:
        return []


def _ratio(words: list[str]) -> float | None:
    if len(words) != 2 or not all(word.isdigit() for word in words):  # "max" and "-1" are no limit
        return None
    quota, period = int(words[0]), int(words[1])
    return quota / period if quota > 0 and period > 0 else None


class CpuInstrument:
    """Process CPU time, and what part of the allowed cores that was."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="cpu_time",
            unit="s",
            direction="lower",
            stored="ns",
            group="cpu",
            label="CPU time",
            definition="User and system CPU time that all threads of the process spent during the inference.",
            excludes="other processes, the process's own children, and time spent waiting for a CPU",
            source="getrusage(RUSAGE_SELF)",
        ),
        MetricDef(
            name="cpu_cores_used",
            unit="cores",
            direction="none",
            group="cpu",
            label="cores used",
            definition="CPU time divided by wall time: how many cores were busy for this process on average.",
            excludes="other processes",
            source="getrusage(RUSAGE_SELF), perf_counter_ns",
        ),
        MetricDef(
            name="cpu_percent",
            unit="%",
            direction="none",
            group="cpu",
            label="CPU",
            definition="Cores used as a share of the cores the process may use (CPU affinity and control group quota).",
            excludes="other processes; 100 % is all allowed cores, not one",
            source="getrusage(RUSAGE_SELF), sched_getaffinity, cpu.max or cpu.cfs_quota_us",
        ),
        MetricDef(
            name="net_time",
            unit="s",
            direction="lower",
            stored="ns",
            group="cpu",
            label="net time",
            definition="Wall time of the inference minus the time its thread was ready to run but had no CPU.",
            excludes="waiting for a CPU; defined only where one thread computes",
            source="perf_counter_ns, /proc/thread-self/schedstat",
        ),
    )


def net_time(wall_ns: int, run_delay_ns: Reading, threads: int) -> Reading:
    """Wall time minus run delay, in nanoseconds.

    :param threads: CPU threads that may compute; the run delay of one of several says nothing about the inference.
    """
    if threads != 1:
        given = f"this process may use {threads}" if threads else "their number is not known here"
        return Missing(f"net time is defined for one CPU thread only; {given}")
    if isinstance(run_delay_ns, Missing):
        return run_delay_ns
    if wall_ns < 0:
        return CLOCK_WENT_BACK
    net = wall_ns - run_delay_ns
    return net if net > 0 else Missing("the inference was too short beside its wait for a CPU")
