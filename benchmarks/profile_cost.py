"""What ``profile()`` itself costs: enter and exit around nothing, in a small process and in one of 2 GiB.

    python benchmarks/profile_cost.py

The ways are taken in turn, a few calls each, so that a busy neighbour meets all of them; ``profile()`` is there twice
(A and A again), and what those two differ by is the noise of the comparison. memory_profiler, memray and psutil join in
where they are installed. Times in microseconds a call: the wall time of single calls, and CPU time by the block.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pytest_llmci.measure.profile import profile


@dataclass
class Way:
    """One way to measure nothing."""

    name: str
    call: Callable[[], None]
    batch: int
    """Calls in one turn."""
    wall_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=30, help="turns of each way (default 30)")
    parser.add_argument("--rss-gib", type=float, nargs="*", default=[0.0, 2.0], help="ballast (default 0 and 2)")
    arguments = parser.parse_args()
    for ballast_gib in arguments.rss_gib:
        with _ballast(ballast_gib):
            ways = _ways()
            for _ in range(arguments.turns):
                for way in ways:
                    _turn(way)
            _print(ways, ballast_gib)


def _turn(way: Way) -> None:
    call, clock = way.call, time.perf_counter_ns
    cpu = time.process_time_ns()
    for _ in range(way.batch):
        begin = clock()
        call()
        way.wall_us.append((clock() - begin) / 1000)
    way.cpu_us.append((time.process_time_ns() - cpu) / 1000 / way.batch)


def _ways() -> list[Way]:
    context, nothing = profile(), contextlib.nullcontext()

    def empty() -> None:
        with nothing:
            pass

    def profiled() -> None:
        with context:
            pass

    def nested() -> None:
        with profile(), profile():
            pass

    def read() -> None:
        with context as measured:
            pass
        measured.reading()

    ways = [
        Way("empty context", empty, 100),
        Way("profile() A", profiled, 100),
        Way("profile() A again", profiled, 100),
        Way("profile(), numbers read", read, 100),
        Way("profile() nested twice", nested, 100),
    ]
    for package, add in (("psutil", _psutil), ("memory_profiler", _memory_profiler), ("memray", _memray)):
        if importlib.util.find_spec(package):
            ways.append(add())
    return ways


def _psutil() -> Way:
    import psutil

    process = psutil.Process()

    def snapshots() -> None:
        for _ in range(2):
            process.memory_info()
            process.cpu_times()
            process.num_ctx_switches()

    return Way("psutil snapshots, no peak", snapshots, 20)


def _memory_profiler() -> Way:
    memory_profiler: Any = importlib.import_module("memory_profiler")

    def usage() -> None:
        memory_profiler.memory_usage((lambda: None,))

    return Way("memory_usage((f,))", usage, 1)


def _memray() -> Way:
    memray: Any = importlib.import_module("memray")

    def tracked() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trace")
            with memray.Tracker(path):
                pass
            _ = memray.FileReader(path).metadata.peak_memory

    return Way("memray Tracker + peak", tracked, 1)


@contextlib.contextmanager
def _ballast(gib: float) -> Iterator[None]:
    size = int(gib * 2**30)
    if not size:
        yield
        return
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for at in range(0, size, mmap.PAGESIZE):
            block[at] = 1
        yield


def _print(ways: list[Way], ballast_gib: float) -> None:
    base = statistics.median(ways[1].wall_us)
    print(f"\nballast {ballast_gib:g} GiB, Python {sys.version.split()[0]}, load average {os.getloadavg()[0]:.1f}")
    print(f"{'way':<27} {'median us':>10} {'least':>8} {'p95':>9} {'CPU us':>9} {'x profile()':>12}")
    for way in ways:
        wall = sorted(way.wall_us)
        median, p95 = statistics.median(wall), wall[len(wall) * 95 // 100]
        cpu = statistics.median(way.cpu_us)
        print(f"{way.name:<27} {median:>10.2f} {wall[0]:>8.2f} {p95:>9.2f} {cpu:>9.2f} {median / base:>12.2f}")
    first, again = (statistics.median(way.wall_us) for way in ways[1:3])
    print(f"A/A: {again / first - 1:+.1%}")


if __name__ == "__main__":
    main()
