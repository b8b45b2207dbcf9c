"""Memory: spikes of known size, and a leak of known slope."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from ...backends.base import Stamp
from ...measure.memory import PAGE, counter_resolution_bytes
from ...measure.profile import profile
from ...measure.region import PROCESS_METER
from ...records import GenerationSettings, Missing, ModelSpec, Number, RoundRecord, RunRequest
from .base import PROMPT, Acting, Sighting, Truth, measure, measure_backend, reported, worst
from .loading import ARENA_BYTES, worker
from .spike import Spike

MIB: Final = 1 << 20
SPIKE_BYTES: Final = 64 * MIB
SPIKES: Final = 4  # of each kind; the worst is told
LEAK_BYTES: Final = 4 * MIB
LEAKS: Final = 8
GROWTH_BYTES: Final = 16 * MIB
_CHILD: Final = """
import mmap
print(flush=True)
while input() == "":
    with mmap.mmap(-1, 32 << 20) as block:
        for at in range(0, 32 << 20, mmap.PAGESIZE):
            block[at] = 1
        height = int(open("/proc/self/statm").read().split()[1]) * mmap.PAGESIZE
    print(height, flush=True)
"""
_NO_SHARED: Final = Missing("a spike with sharp edges needs Linux (memfd_create)")


@contextmanager
def _spike(size: int) -> Iterator[Spike]:
    spike = Spike(size)
    try:
        yield spike
    finally:
        spike.close()


def _walked_bytes() -> Number:
    """Resident memory by a walk over all pages, which counts nothing and sums nothing."""
    try:
        for line in Path("/proc/self/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return Missing("the pages of this process cannot be walked (/proc/self/smaps_rollup, Linux 4.14)")


def _spike_bytes(resolution: int | None) -> int | Missing:
    """As large as it must be to stand out of the counters' rest, which grows with the number of CPUs."""
    size = max(SPIKE_BYTES, 10 * (resolution or 0))
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * PAGE
    except (ValueError, OSError):
        free = 0
    if size > SPIKE_BYTES and size > free // 4:
        return Missing(f"with so many CPUs a spike must have {size // MIB} MiB to stand out, and memory is short")
    return size


def plant_spikes(hold_s: float, *, hold_lock: bool) -> Sequence[Sighting] | Missing:
    """Spikes of 64 MiB or more, each smaller than the one before; the worst sighting of each metric.

    So a mark that is not reset shows the one before. A lifetime's peak sees only what is higher than all before, and
    gets them the other way round.
    """
    if not hasattr(os, "memfd_create"):
        return _NO_SHARED
    source = PROCESS_METER.chosen().source
    size = _spike_bytes(source.resolution_bytes)
    if isinstance(size, Missing):
        return size
    step = max(2 * MIB, 2 * (source.resolution_bytes or 0))
    sizes = [size + number * step for number in range(SPIKES)]
    if source.method == "lifetime":
        sizes = [each + PROCESS_METER.memory()[0].hwm() for each in sizes]
    else:
        sizes.reverse()
    tries = [_one_spike(each, hold_s, hold_lock=hold_lock) for each in sizes]
    return [worst(sightings) for sightings in zip(*tries, strict=True)]


def _one_spike(size: int, hold_s: float, *, hold_lock: bool) -> tuple[Sighting, ...]:
    heights: list[int] = []
    levels: list[Number] = []
    with _spike(size) as spike:

        def act(_stamp: Stamp) -> None:
            time.sleep(0.002)
            heights.append(spike.plant(hold_s, hold_lock=hold_lock))
            time.sleep(0.002)

        record = measure(act, before=lambda: levels.append(_walked_bytes()))
    height, level = heights[-1], levels[-1]
    see = partial(_see, record, doubt=_doubt(record.memory_method))
    if isinstance(level, Missing):
        return (see("peak_rss", height),)
    return see("peak_rss", height), see("rss_before", level), see("peak_rss_delta", height - level)


def _doubt(method: str) -> str:
    return "a sampler that looks once a millisecond can miss such a spike" if method == "sampler" else ""


def _see(record: RoundRecord, metric: str, planted: float, *, doubt: str) -> Sighting:
    # A sampler has no resolution to tell, but it sums exactly: what is left is Python's own taking of memory.
    slack = record.peak_rss_resolution_bytes or ARENA_BYTES
    return Sighting(metric=metric, planted=planted, reported=reported(record, metric), tolerance=slack, doubt=doubt)


def plant_nested_spikes() -> Sequence[Sighting] | Missing:
    """A block within a block: the inner one must not take the outer one's peak away, nor see it."""
    if not hasattr(os, "memfd_create"):
        return _NO_SHARED
    resolution = PROCESS_METER.chosen().source.resolution_bytes
    size = _spike_bytes(resolution)
    if isinstance(size, Missing):
        return size
    with _spike(2 * size) as large, _spike(size) as small, profile() as outer:
        outer_height = large.plant(0.005, hold_lock=False)
        with profile() as inner:
            inner_height = small.plant(0.005, hold_lock=False)
    if outer.memory_method == "lifetime":
        return Missing("a lifetime's peak has no begin: a block within a block has none of its own")
    slack = resolution or ARENA_BYTES
    return [
        Sighting(
            metric="peak_rss",
            planted=height,
            reported=block.peak_rss,
            tolerance=slack,
            doubt=_doubt(block.memory_method),
        )
        for height, block in ((outer_height, outer), (inner_height, inner))
    ]


def plant_leak() -> Sequence[Sighting] | Missing:
    """A model that keeps 4 MiB of each answer.

    In mappings of its own: the C library serves what it is asked for from memory that is resident already.
    """
    kept: list[mmap.mmap] = []

    def act(_stamp: Stamp) -> None:
        kept.append(mmap.mmap(-1, LEAK_BYTES))
        for at in range(0, LEAK_BYTES, PAGE):
            kept[-1][at] = 1

    try:
        growths = [reported(record, "rss_growth") for record in measure_backend(Acting(act), rounds=LEAKS)]
    finally:
        for block in kept:
            block.close()
    lost = next((growth for growth in growths if isinstance(growth, Missing)), None)
    slope: Number = sum(float(growth) for growth in growths) / LEAKS if lost is None else lost
    return [Sighting(metric="rss_growth", planted=LEAK_BYTES, reported=slope, tolerance=ARENA_BYTES / LEAKS)]


def plant_growth() -> Sequence[Sighting] | Missing:
    """A model that allocates 16 MiB for each answer, in the process of a memory pass."""
    options = {"alloc": str(GROWTH_BYTES), "alloc_ms": "2"}
    request = RunRequest(
        cell="growth", prompt=PROMPT, generation=GenerationSettings(max_new_tokens=8), rounds=SPIKES, warmup=1
    )
    rounds: list[RoundRecord] = []
    with worker(ModelSpec(alias="growth", backend="echo", text="echo", options=options), "memory") as process:
        process.load()
        process.run(request, rounds.append)
    return [worst(_see(record, "peak_rss_delta", GROWTH_BYTES, doubt="") for record in rounds)]


def plant_child() -> Sequence[Sighting] | Missing:
    """A child process that takes 32 MiB for a moment, and says what it then held."""
    if not Path("/proc/self/statm").exists():
        return Missing("this system has no /proc to compare with")
    heights: list[int] = []
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()

        def act(_stamp: Stamp) -> None:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b"\n")
            heights.append(int(child.stdout.readline()))

        record = measure(act)
    finally:
        child.kill()
        child.communicate()
    slack = counter_resolution_bytes(os.cpu_count() or 1)
    value = reported(record, "children_peak_rss")
    return [Sighting(metric="children_peak_rss", planted=heights[-1], reported=value, tolerance=slack)]


TRUTHS: Final = (
    *(
        Truth(
            name=f"memory spike of 64 MiB for {milliseconds} ms, interpreter lock {'held' if held else 'released'}",
            metrics=("peak_rss", "rss_before", "peak_rss_delta"),
            plant=partial(plant_spikes, milliseconds / 1e3, hold_lock=held),
        )
        for milliseconds in (1, 5)
        for held in (True, False)
    ),
    Truth(
        name="a spike of 64 MiB in a block inside a block with one of 128 MiB",
        metrics=("peak_rss",),
        plant=plant_nested_spikes,
    ),
    Truth(
        name="a model that allocates 16 MiB for an answer, in the memory pass",
        metrics=("peak_rss_delta",),
        plant=plant_growth,
    ),
    Truth(
        name="a child process that takes 32 MiB for a moment",
        metrics=("children_peak_rss",),
        plant=plant_child,
    ),
    Truth(name="a leak of 4 MiB in each answer", metrics=("rss_growth",), plant=plant_leak),
)
