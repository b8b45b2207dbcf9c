"""What measuring costs: the timing loop with all its instruments against a bare loop.

    python -m benchmarks.own_cost [--rounds 60] [--check]

Two models are measured in this process, the sides in turn, a bare loop twice (A/A control):

    1 ms an inference   one token of exactly 1 ms of CPU time: what a short inference pays for being measured
    1 ms a token        256 such tokens (what is asked for by default) and 64, their arrivals stamped and shown on a
                        progress page, as in a model's process
    tiny                a real (random) llama of about 1 ms a token, where torch and transformers are installed

"profile()" are the readings of the kernel alone: wall, CPU, peak memory, faults, switches. Before it stand the same
without memory, and with resident memory at both ends (statm) and no peak: either may be meant by "wall, CPU, faults and
switches together", so both are set beside that target. "kernel calls alone" is what no loop in Python can cost less
than. "loop" adds what a round's record holds besides: token times, waits of all threads, pressure, energy, and some
thirty numbers or reasons made of all that. The paper's way (`memory_profiler.memory_usage` around the call,
`psutil.cpu_percent` after it) joins in where those are installed: pip install -r benchmarks/requirements.txt. CPU time is
compared, for neighbours falsify wall time; ratios are medians over turns, with their 95 % bootstrap interval. A turn of
answers of many tokens is five of them in a row, as a cell has by default: the CPU's caches hold nothing of what ran before
the other sides' turns, and a cell of one round pays for that.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.kernel_calls import KernelCalls, kernel_calls
from benchmarks.pairs import Ratio, Targets, in_turn, machine_line, paired_ratio
from benchmarks.spin import PROMPT, SpinModel
from pytest_llmci.backends.base import Backend, LoadContext
from pytest_llmci.measure import register
from pytest_llmci.measure.memory import MemoryFiles, MemoryPaths, NoPeak, PeakSource
from pytest_llmci.measure.profile import Probe, profile
from pytest_llmci.measure.region import PROCESS_METER, Meter
from pytest_llmci.records import GenerationSettings, ModelSpec
from pytest_llmci.registry import Registry
from pytest_llmci.runner.loop import MeasuringLoop, NoProgress, Progress
from pytest_llmci.runner.progress import ProgressPage

BARE, AGAIN, KERNEL, READINGS, LEVELS, PROFILE, NO_PEAKS, LOOP, PAPER = (
    "bare loop", "bare loop again", "kernel calls alone", "readings, no memory", "readings, no peak", "profile()", "loop without memory",
    "loop", "the paper's way",
)  # fmt: skip
ROUNDS_OF_A_CELL = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one inference on average over a turn."""

    cpu_us: float
    wall_us: float


@dataclass(kw_only=True)
class Bench:
    """One model, measured in several ways."""

    backend: Backend
    settings: GenerationSettings
    progress: Progress
    batch: int
    """Inferences in a turn."""
    seen_ns: dict[str, list[float]] = field(default_factory=dict)
    """What each way says the latency was."""

    def bare(self, name: str) -> Cost:
        """Nothing but the model and a clock before and after it: the outside clock."""
        clock, seen = time.perf_counter_ns, self.seen_ns.setdefault(name, [])
        stamps: list[int] = []
        append = stamps.append

        def inference() -> None:
            stamps.clear()
            begin = clock()
            self.backend.complete(self.backend.generate(PROMPT, self.settings, lambda: append(clock())))
            seen.append(stamps[-1] - begin)

        return self._turn(inference)

    def profiled(self, meter: Meter) -> Cost:
        """The kernel's readings around the bare call."""

        def nothing() -> None:
            pass

        def inference() -> None:
            with profile(meter=meter):
                self.backend.complete(self.backend.generate(PROMPT, self.settings, nothing))

        return self._turn(inference)

    def asked(self, calls: KernelCalls) -> Cost:
        """The bare call within the calls of the kernel that the whole loop makes, and nothing made of what it answers."""

        def nothing() -> None:
            pass

        def inference() -> None:
            calls.begin()
            self.backend.complete(self.backend.generate(PROMPT, self.settings, nothing))
            calls.end()

        return self._turn(inference)

    def looped(self, name: str, loop: MeasuringLoop) -> Cost:
        """The project's loop."""
        seen = self.seen_ns.setdefault(name, [])
        return self._turn(lambda: seen.append(loop.measure(PROMPT, self.settings).values["latency"]))

    def loop(self, meter: Meter) -> MeasuringLoop:
        """The loop with every built-in instrument."""
        registry = Registry()
        register(registry)
        return MeasuringLoop(
            self.backend, Probe(registry, meter=meter), threads=1, progress=self.progress, isolated=False
        )

    def _turn(self, inference: Callable[[], None]) -> Cost:
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(self.batch):
            inference()
        cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
        return Cost(cpu_us=cpu / 1000 / self.batch, wall_us=wall / 1000 / self.batch)


class FreePeak(NoPeak):
    """Takes no time to tell nothing."""

    def peak(self, maxrss_kib: int) -> int:
        """Nothing."""
        return 0


class FreeFiles(MemoryFiles):
    """Of memory nothing is read."""

    def sizes(self) -> bytes:
        """Nothing."""
        return b""


class MeterWithoutMemory(Meter):
    """Reads clocks, CPU time, faults, switches, waits and steal."""

    def memory(self) -> tuple[MemoryFiles, PeakSource]:
        """Nothing to ask."""
        self.ready = FreeFiles(MemoryPaths()), FreePeak("left out")
        return self.ready


class MeterWithoutPeak(Meter):
    """Reads resident memory as well, without the high-water mark."""

    def memory(self) -> tuple[MemoryFiles, PeakSource]:
        """The kernel's file of sizes."""
        self.ready = MemoryFiles(MemoryPaths()), FreePeak("left out")
        return self.ready


def paper_way(bench: Bench) -> Callable[[], Cost] | None:
    """memory_profiler around the call and psutil's system-wide CPU after it; None where they are not installed."""
    if not all(importlib.util.find_spec(package) for package in ("memory_profiler", "psutil")):
        return None
    memory_profiler: Any = importlib.import_module("memory_profiler")
    psutil: Any = importlib.import_module("psutil")
    seen = bench.seen_ns.setdefault(PAPER, [])

    def inference() -> None:
        begin = time.perf_counter_ns()
        memory_profiler.memory_usage((bench.backend.generate, (PROMPT, bench.settings, lambda: None)), retval=True)
        seen.append(time.perf_counter_ns() - begin)
        psutil.cpu_percent()

    def turn() -> Cost:
        cpu, wall = os.times(), time.perf_counter_ns()
        inference()
        later = os.times()
        spent_s = sum(later[:4]) - sum(cpu[:4])  # with the child that it forks
        return Cost(cpu_us=spent_s * 1e6, wall_us=(time.perf_counter_ns() - wall) / 1000)

    return turn


def cpu(costs: Sequence[Cost]) -> list[float]:
    """Their CPU times."""
    return [cost.cpu_us for cost in costs]


def print_costs(title: str, costs: dict[str, list[Cost]], seen_ns: dict[str, list[float]]) -> None:
    """All sides of one model."""
    print(f"\n{title}; {machine_line()}")
    print(f"  {'':<20}{'CPU us':>10}{'wall us':>10}   {'CPU, paired with the bare loop':<34}{'says us':>10}")
    for name, of_side in costs.items():
        ratio = "" if name == BARE else str(paired_ratio(cpu(of_side), cpu(costs[BARE])))
        says = f"{statistics.median(seen_ns[name]) / 1000:>10.1f}" if name in seen_ns else ""
        wall = statistics.median(cost.wall_us for cost in of_side)
        print(f"  {name:<20}{statistics.median(cpu(of_side)):>10.1f}{wall:>10.1f}   {ratio:<34}{says}")


def kernel_side(bench: Bench) -> dict[str, Callable[[], Cost]]:
    """The floor, where it is known."""
    calls = kernel_calls(whole_round=True)
    return {} if calls is None else {KERNEL: partial(bench.asked, calls)}


def one_inference(rounds: int, targets: Targets) -> None:
    """The short inference."""
    bench = Bench(
        backend=SpinModel(), settings=GenerationSettings(max_new_tokens=1), progress=NoProgress(), batch=20
    )  # fmt: skip
    cheap, levels = MeterWithoutMemory(), MeterWithoutPeak()
    whole, without = bench.loop(PROCESS_METER), bench.loop(cheap)
    sides: dict[str, Callable[[], Cost]] = {
        BARE: lambda: bench.bare(BARE),
        READINGS: lambda: bench.profiled(cheap),
        LEVELS: lambda: bench.profiled(levels),
        PROFILE: lambda: bench.profiled(PROCESS_METER),
        NO_PEAKS: lambda: bench.looped(NO_PEAKS, without),
        LOOP: lambda: bench.looped(LOOP, whole),
        AGAIN: lambda: bench.bare(AGAIN),
    }
    sides |= kernel_side(bench)
    paper = paper_way(bench)
    if paper is None:
        print("memory_profiler and psutil are not both there: the paper's way is left out.", file=sys.stderr)
    else:
        sides[PAPER] = paper
    costs = in_turn(sides, rounds)
    print_costs("1 ms an inference", costs, bench.seen_ns)
    ratios = {name: paired_ratio(cpu(of_side), cpu(costs[BARE])) for name, of_side in costs.items()}
    targets.judge("wall, CPU, faults and switches around a call", ratios[READINGS].median, 1.01, "x")
    targets.judge("these and resident memory at both ends", ratios[LEVELS].median, 1.01, "x")
    targets.judge("profile(): these and exact peak memory", ratios[PROFILE].median, 1.03, "x")
    targets.judge("whole loop without memory", ratios[NO_PEAKS].median, 1.01, "x")
    targets.judge("whole loop", ratios[LOOP].median, 1.03, "x")
    truth, said = (statistics.median(bench.seen_ns[name]) for name in (BARE, LOOP))
    targets.judge("median against the outside clock, off by", 100 * abs(said / truth - 1), 1.0, "%")


def per_token(name: str, backend: Backend, tokens: int, rounds: int, targets: Targets) -> None:
    """The model of about 1 ms a token."""
    with tempfile.TemporaryDirectory(prefix="llmci-own-") as folder:
        page = ProgressPage(str(Path(folder, "progress")), create=True)
        bench = Bench(
            backend=backend,
            settings=GenerationSettings(max_new_tokens=tokens, fixed_length=True),
            progress=page,
            batch=ROUNDS_OF_A_CELL,
        )
        whole = bench.loop(PROCESS_METER)
        sides: dict[str, Callable[[], Cost]] = {
            BARE: lambda: bench.bare(BARE),
            **kernel_side(bench),
            LOOP: lambda: bench.looped(LOOP, whole),
            AGAIN: lambda: bench.bare(AGAIN),
        }
        costs = in_turn(sides, rounds)
        page.close()
    print_costs(f"{name}, {tokens} tokens", costs, bench.seen_ns)
    added, noise = (overhead(costs, name) for name in (LOOP, AGAIN))
    targets.judge_ratio("CPU time that the loop adds", added, noise, 0.3)
    if not isinstance(backend, SpinModel):  # whose control scatters by 0.01 %: there any cost at all is seen
        targets.judge_true("its interval reaches that of the A/A control", added.overlaps(noise))


def overhead(costs: dict[str, list[Cost]], name: str) -> Ratio:
    """CPU time of a side over that of the bare loop."""
    return paired_ratio(cpu(costs[name]), cpu(costs[BARE]))


def tiny_backend() -> Backend | None:
    """The built-in random llama; None without torch."""
    if not all(importlib.util.find_spec(package) for package in ("torch", "transformers")):
        return None
    import torch

    from pytest_llmci.backends.tiny import TinyBackend

    torch.set_num_threads(1)
    backend = TinyBackend(ModelSpec(text="tiny", alias="tiny", backend="tiny", target=""))
    backend.prepare()
    backend.load(LoadContext(threads=1, cache_dir="", say=lambda text: None))
    return backend


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds",
        type=int,
        default=60,
        help="turns of each side, a third as many for answers of many tokens (default: 60)",
    )
    parser.add_argument(
        "--only", choices=("inference", "token", "tiny"), help="one of the three kinds of model (default: all)"
    )
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    targets = Targets()
    turns = max(arguments.rounds // 3, 2)
    if arguments.only in (None, "inference"):
        one_inference(arguments.rounds, targets)
    for tokens in (256, 64) if arguments.only in (None, "token") else ():
        per_token("1 ms a token", SpinModel(), tokens, turns, targets)
    if arguments.only not in (None, "tiny"):
        return targets.status(check=arguments.check)
    tiny = tiny_backend()
    if tiny is None:
        print("\ntorch and transformers are not both there: tiny is left out.", file=sys.stderr)
    else:
        per_token("tiny", tiny, 256, turns, targets)
    return targets.status(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
