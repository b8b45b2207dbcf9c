"""What ``profile()`` itself costs: enter and exit around nothing, in a small process and in a large one; and a token's stamp.

    python -m benchmarks.profile_cost [--turns 30] [--check]

The large process has torch imported, where it is installed, and 2 GiB resident. The ways are taken in turn, a few calls
each, so that a busy neighbour meets all of them; ``profile()`` is there twice (A/A control). "Around a wait" is the dear
case: the thread leaves its CPU before the block and in it and takes a page, so that no reading can be spared, and comes
back to a cold cache. The peers are psutil, memory_profiler, memray and pytest-memray: pip install -r
benchmarks/requirements.txt; what is not installed is left out and said. pytest-memray is measured by what it adds to a
test that does nothing, in sessions of 300 such tests with and without it, taken in turn. Times in microseconds a call:
the wall time of single calls, and CPU time by the turn.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import mmap
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.kernel_calls import around_nothing, kernel_calls
from benchmarks.pairs import Targets, in_turn, machine_line
from benchmarks.process_cost import RunFailedError, Side, clean_environment, compare, measure_in_turn
from pytest_llmci.measure.profile import profile
from pytest_llmci.runner.loop import NoProgress, Progress, _stamper
from pytest_llmci.runner.progress import ProgressPage

PEERS = ("psutil", "memory_profiler", "memray", "pytest_memray")
INSTALL = "pip install -r benchmarks/requirements.txt"
EMPTY, KERNEL, PROFILE, AGAIN, MET, READ, NESTED, USAGE, TRACKER = (
    "empty context", "its kernel calls alone", "profile()", "profile() again", "profile() around a wait",
    "profile(), numbers read", "profile() nested twice", "memory_usage((f,))", "memray Tracker + peak",
)  # fmt: skip
BARE_STAMP, STAMP, PAGE_STAMP = "bare append(clock())", "stamp", "stamp, progress page"
MEMRAY_TESTS = 300
NO_OP_TESTS = """\
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_nothing(number):
    pass
"""


@dataclass(kw_only=True)
class Way:
    """One way to measure nothing."""

    call: Callable[[], object]
    batch: int
    """Calls in one turn."""
    own_ns: bool = False
    """True where the call gives its own time in nanoseconds, as there is more in it that does not count; its CPU time is not known."""
    wall_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def turn(self) -> None:
        """Measure a few calls."""
        call, clock = self.call, time.perf_counter_ns
        if self.own_ns:
            self.wall_us += [cast(int, call()) / 1000 for _ in range(self.batch)]
            return
        cpu = time.process_time_ns()
        for _ in range(self.batch):
            begin = clock()
            call()
            self.wall_us.append((clock() - begin) / 1000)
        self.cpu_us.append((time.process_time_ns() - cpu) / 1000 / self.batch)

    def median_us(self) -> float:
        """Median wall time of a call."""
        return statistics.median(self.wall_us)


def installed(package: str) -> bool:
    """Whether a peer can be measured."""
    return importlib.util.find_spec(package) is not None


def profile_ways() -> dict[str, Way]:
    """``profile()`` and its peers in this process."""
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

    def met() -> int:
        clock = time.perf_counter_ns
        time.sleep(1e-6)
        before = clock()
        context.__enter__()
        begun = clock()
        time.sleep(1e-6)
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            page[0] = 1
        ending = clock()
        context.__exit__(None, None, None)
        return clock() - ending + begun - before

    calls = kernel_calls(whole_round=False)
    ways = {
        EMPTY: Way(call=empty, batch=100),
        **({KERNEL: Way(call=around_nothing(calls), batch=100)} if calls is not None else {}),
        PROFILE: Way(call=profiled, batch=100),
        AGAIN: Way(call=profiled, batch=100),
        MET: Way(call=met, batch=20, own_ns=True),
        READ: Way(call=read, batch=100),
        NESTED: Way(call=nested, batch=100),
    }
    if installed("psutil"):
        ways["psutil snapshots, no peak"] = Way(call=psutil_snapshots(), batch=20)
    if installed("memory_profiler"):
        memory_profiler: Any = importlib.import_module("memory_profiler")
        ways[USAGE] = Way(call=partial(memory_profiler.memory_usage, (lambda: None,)), batch=1)
    if installed("memray"):
        ways[TRACKER] = Way(call=memray_tracked(), batch=1)
    return ways


def psutil_snapshots() -> Callable[[], None]:
    """Memory, CPU time and switches before and after: no peak is among it."""
    import psutil

    process = psutil.Process()

    def snapshots() -> None:
        for _ in range(2):
            process.memory_info()
            process.cpu_times()
            process.num_ctx_switches()

    return snapshots


def memray_tracked() -> Callable[[], None]:
    """memray around nothing, its peak read."""
    memray: Any = importlib.import_module("memray")

    def tracked() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trace")
            with memray.Tracker(path):
                pass
            _ = memray.FileReader(path).metadata.peak_memory

    return tracked


def stamp_ways(page: ProgressPage) -> dict[str, Way]:
    """What the arrival of a token costs; the calls are too short to be timed one by one, so each is a thousand."""
    clock = time.perf_counter_ns

    def thousand(make: Callable[[list[int]], Callable[[], object]]) -> None:
        stamps: list[int] = []
        stamp = make(stamps)
        for _ in range(1000):
            stamp()

    def bare(stamps: list[int]) -> Callable[[], object]:
        append = stamps.append
        return lambda: append(clock())

    def ours(progress: Progress) -> Callable[[list[int]], Callable[[], object]]:
        return lambda stamps: _stamper(stamps, progress)

    return {
        BARE_STAMP: Way(call=partial(thousand, bare), batch=5),
        STAMP: Way(call=partial(thousand, ours(NoProgress())), batch=5),
        PAGE_STAMP: Way(call=partial(thousand, ours(page)), batch=5),
    }


@contextlib.contextmanager
def ballast(gib: float) -> Iterator[None]:
    """So much resident memory."""
    size = int(gib * 2**30)
    if not size:
        yield
        return
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for at in range(0, size, mmap.PAGESIZE):
            block[at] = 1
        yield


def print_ways(title: str, ways: dict[str, Way], base: str, *, calls: int = 1) -> None:
    """All ways, beside one of them.

    :param calls: calls in what was timed as one.
    """
    print(f"\n{title}; {machine_line()}")
    print(f"  {'':<27} {'median us':>10} {'least':>9} {'p95':>9} {'CPU us':>9} {'ratio':>9}")
    for name, way in ways.items():
        wall = sorted(value / calls for value in way.wall_us)
        median, p95 = statistics.median(wall), wall[len(wall) * 95 // 100]
        cpu = f"{statistics.median(way.cpu_us) / calls:.3f}" if way.cpu_us else "-"
        ratio = median * calls / ways[base].median_us()
        print(f"  {name:<27} {median:>10.3f} {wall[0]:>9.3f} {p95:>9.3f} {cpu:>9} {ratio:>9.2f}")


def measure_process(title: str, limit_us: float, turns: int, targets: Targets) -> dict[str, Way]:
    """All ways in this process as it is now."""
    ways = profile_ways()
    in_turn({name: way.turn for name, way in ways.items()}, turns)
    print_ways(title, ways, PROFILE)
    targets.judge("profile() enter and exit", ways[PROFILE].median_us(), limit_us, "us")
    if USAGE in ways:
        ratio = ways[USAGE].median_us() / ways[PROFILE].median_us()
        targets.judge("memory_usage((f,)) over profile()", ratio, 5000, "x", at_least=True)
    return ways


def pytest_memray_us(rounds: int) -> float:
    """What pytest-memray adds to a test that does nothing, in microseconds of CPU time."""
    with tempfile.TemporaryDirectory(prefix="llmci-memray-") as name:
        folder = Path(name)
        (folder / "test_nothing.py").write_text(NO_OP_TESTS.format(tests=MEMRAY_TESTS), encoding="utf-8")
        common = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-p", "pytest_memray.plugin")
        sides = [
            Side(
                name=side,
                command=[*common, *more],
                cwd=folder,
                environment=clean_environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
                expected=f"{MEMRAY_TESTS} passed",
            )
            for side, more in (("plain", ()), ("memray", ("--memray",)))
        ]
        costs = measure_in_turn(sides, rounds, folder / "output.txt")
    return compare(costs["memray"], costs["plain"]).difference_s * 1e6 / MEMRAY_TESTS


def measure_stamps(turns: int) -> None:
    """The cost of a token's stamp."""
    with tempfile.TemporaryDirectory(prefix="llmci-stamp-") as name:
        page = ProgressPage(str(Path(name, "progress")), create=True)
        ways = stamp_ways(page)
        in_turn({name: way.turn for name, way in ways.items()}, turns)
        page.close()
    print_ways("a token's stamp", ways, BARE_STAMP, calls=1000)


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=30, help="turns of each way (default: 30)")
    parser.add_argument("--rss-gib", type=float, default=2.0, help="memory of the large process (default: 2)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    missing = [package for package in PEERS if not installed(package)]
    if missing:
        print(f"not installed, left out: {', '.join(missing)} ({INSTALL})")
    targets = Targets()
    small = measure_process("a small process", 15, arguments.turns, targets)
    measure_stamps(arguments.turns)
    if "pytest_memray" not in missing:
        try:
            added_us = pytest_memray_us(5)
        except RunFailedError as error:
            print(f"profile_cost: {error}", file=sys.stderr)
            return 2
        print(f"\npytest-memray adds {added_us:.0f} us of CPU time to a test that does nothing")
        ratio = added_us / statistics.median(small[PROFILE].cpu_us)
        targets.judge("pytest-memray over profile()", ratio, 1000, "x", at_least=True)
    if installed("torch"):
        importlib.import_module("torch")
    with ballast(arguments.rss_gib):
        title = f"{'torch and ' if 'torch' in sys.modules else ''}{arguments.rss_gib:g} GiB resident"
        measure_process(title, 16, arguments.turns, targets)
    return targets.status(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
