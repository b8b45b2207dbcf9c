"""How exact the peak is: planted memory spikes of known size against what the instruments report.

    python -m benchmarks.peak_memory [-n 100] [--check]

Each spike is a mapping of the given size less up to 1 MiB: shared memory that was filled before and is mapped at once,
so that its edges are sharp, or with ``--kind anonymous`` fresh pages. It comes at a random moment of the block, with the
interpreter lock held or released, and the process hops between the CPUs. The truth is the exact resident memory, read at
the spike's height. The ways are taken in turn. "missed" counts peaks off by more than 10 % of the spike; the p95 and the
worst are of the error's absolute value. Targets stand for the way in use, "hwm".
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.pairs import Targets
from pytest_llmci.engine.planted.spike import Spike
from pytest_llmci.measure.memory import (
    ChosenSource,
    HighWaterMark,
    MemoryFiles,
    MemoryPaths,
    SampledPeak,
    counter_resolution_bytes,
)
from pytest_llmci.measure.profile import profile
from pytest_llmci.measure.region import Meter
from pytest_llmci.records import Missing

MIB = 1 << 20
LARGE_BYTES, SMALL_BYTES = 64 * MIB, 8 * MIB
SPIKES = ((LARGE_BYTES, 1.0), (LARGE_BYTES, 5.0), (SMALL_BYTES, 1.0))
"""Bytes and milliseconds."""


@dataclass
class Way:
    """One method, with its errors in KiB, by spike and lock."""

    name: str
    meter: Meter
    errors: dict[tuple[int, float, bool], list[float]] = field(default_factory=dict)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=100, help="spikes of each kind (default 100)")
    parser.add_argument("--kind", choices=["shared", "anonymous"], default="shared")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--window-ms", type=float, default=20.0, help="longest wait before and after (default 20)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    cpus = sorted(os.sched_getaffinity(0))
    ways = [
        Way("hwm", Meter(choose=lambda files: _only(HighWaterMark(files)))),
        Way("hwm raw", Meter(choose=lambda files: _only(HighWaterMark(files, corrected=False)))),
        Way("sampler", Meter(choose=lambda files: _only(SampledPeak.start(files)))),
    ]
    setting = Setting(files=MemoryFiles(MemoryPaths()), cpus=cpus, dice=dice, window_ms=arguments.window_ms)
    spikes = {size: Spike(size, anonymous=arguments.kind == "anonymous") for size in {size for size, _ in SPIKES}}
    for way in ways:
        with profile(meter=way.meter):
            pass
    for _ in range(arguments.n):
        for size, hold_ms in SPIKES:
            for hold_lock in (True, False):
                for way in dice.sample(ways, len(ways)):
                    error = setting.error_kib(way, spikes[size], hold_ms, hold_lock=hold_lock)
                    way.errors.setdefault((size, hold_ms, hold_lock), []).append(error)
    os.sched_setaffinity(0, cpus)
    _print(ways, arguments.n, len(cpus))
    for way in ways:
        way.meter.close()
    targets = Targets()
    _judge(ways[0], targets)
    return targets.status(check=arguments.check)


def _judge(way: Way, targets: Targets) -> None:
    """The errors of the way in use beside their targets."""
    print()
    large, small = (
        [error for (size, _, _), errors in way.errors.items() if size == asked for error in errors]
        for asked in (LARGE_BYTES, SMALL_BYTES)
    )
    targets.judge("64 MiB: missed", _missed(large, LARGE_BYTES), 0, "")
    targets.judge("64 MiB: median error", abs(statistics.median(large)), 32, "KiB")
    targets.judge("64 MiB: worst error", max(map(abs, large)), 256, "KiB")
    targets.judge("8 MiB 1 ms: missed", _missed(small, SMALL_BYTES), 0, "")
    targets.judge("8 MiB 1 ms: worst error", 100 * 1024 * max(map(abs, small)) / SMALL_BYTES, 3, "%")


def _missed(errors: Sequence[float], size: int) -> int:
    """Peaks off by more than a tenth of the spike."""
    return sum(abs(error) > 0.1 * size / 1024 for error in errors)


def _only(source: HighWaterMark | SampledPeak) -> ChosenSource:
    return ChosenSource(source=source, refused=())


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What stays the same over all spikes."""

    files: MemoryFiles
    cpus: list[int]
    dice: random.Random
    window_ms: float

    def hop(self) -> None:
        """Go on on a CPU drawn by chance."""
        os.sched_setaffinity(0, {self.dice.choice(self.cpus)})

    def error_kib(self, way: Way, spike: Spike, hold_ms: float, *, hold_lock: bool) -> float:
        """The error of one spike."""
        dice = self.dice
        self.hop()
        with profile(meter=way.meter) as measured:
            _work(dice.uniform(0, self.window_ms), dice)
            self.hop()
            truth = spike.plant(hold_ms / 1000, hold_lock=hold_lock, pages_less=dice.randrange(256))
            _work(dice.uniform(0, self.window_ms), dice)
        if isinstance(measured.peak_rss, Missing):
            raise SystemExit(f"{way.name}: {measured.peak_rss.reason}")
        return (measured.peak_rss - truth) / 1024


def _work(milliseconds: float, dice: random.Random) -> None:
    """Pass the time with small allocations, as real code does."""
    end = time.perf_counter() + milliseconds / 1000
    while time.perf_counter() < end:
        block = bytearray(dice.randrange(1, 64) * 4096)
        block[::4096] = bytes(len(block) // 4096)
        time.sleep(0.001)


def _print(ways: list[Way], n: int, cpus: int) -> None:
    print(f"{n} spikes of each kind on {cpus} CPUs; load average {os.getloadavg()[0]:.1f}; errors in KiB")
    print(f"bound of the kernel's counters: {counter_resolution_bytes(cpus) // 1024} KiB\n")
    print(f"{'spike':<14} {'lock':<9} {'way':<8} {'missed':>7} {'median':>8} {'p95':>8} {'worst':>8}")
    for size, hold_ms in SPIKES:
        for hold_lock in (True, False):
            for way in ways:
                errors = way.errors[size, hold_ms, hold_lock]
                _print_row(
                    f"{size // MIB} MiB {hold_ms:g} ms", "held" if hold_lock else "released", way.name, errors, size
                )
    print()
    for way in ways:
        everything = [error for errors in way.errors.values() for error in errors]
        _print_row("all", "", way.name, everything, min(size for size, _ in SPIKES))


def _print_row(spike: str, lock: str, way: str, errors: list[float], size: int) -> None:
    sizes = sorted(abs(error) for error in errors)
    missed = _missed(errors, size)
    median, p95 = statistics.median(errors), sizes[max(0, -(-len(sizes) * 95 // 100) - 1)]
    print(f"{spike:<14} {lock:<9} {way:<8} {missed:>7} {median:>+8.0f} {p95:>8.0f} {sizes[-1]:>8.0f}")


if __name__ == "__main__":
    sys.exit(main())
