"""What a small request to a model's process costs: its round trip, beside bare pipes.

    python -m benchmarks.worker_talk [--rounds 30] [--check]

"request" is `llm.call` of a function that does nothing, "bare pipes" are two pipes between this process and another one
that sends back the same number of bytes with nothing but os.read and os.write. Both are taken in turn, a hundred at a
time, the bare pipes twice (A/A control). The wall time is that of single round trips. Both processes stay on one CPU, so that
the figure is the work of the request; left to the scheduler ("free") it is as well what an idle CPU takes to wake up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.pairs import Targets, in_turn, machine_line, paired_ratio
from benchmarks.workers import worker_starter
from pytest_llmci.runner.wire import encode

TARGET = "benchmarks.workers:nothing"
BATCH = 100
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
BARE, AGAIN, REQUEST, FREE = "bare pipes", "bare pipes again", "request", "request, free"
ECHO = """
import os
while data := os.read(0, 65536):
    os.write(1, data)
"""


class BarePipes:
    """A process that sends back what it gets."""

    def __init__(self, size: int) -> None:
        """Start it.

        :param size: bytes of a message.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._message = b"x" * size

    def ask(self) -> None:
        """One round trip."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._message)
        self._process.stdout.read(65536)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def run_on(cpus: Sequence[int]) -> None:
    """Run on these CPUs from now on, where the system can be told so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def batch_us(ask: Callable[[], object], kept: list[float], cpus: Sequence[int] = CPUS[:1]) -> float:
    """Median round trip of a batch, in microseconds."""
    run_on(cpus)
    seen = []
    for _ in range(BATCH):
        begin = time.perf_counter_ns()
        ask()
        seen.append((time.perf_counter_ns() - begin) / 1000)
    kept += seen
    return statistics.median(seen)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="turns of a hundred round trips (default: 30)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    targets = Targets()
    with tempfile.TemporaryDirectory(prefix="llmci-talk-") as name, worker_starter(Path(name)) as workers:
        free = workers.start("echo")
        run_on(CPUS[:1])
        worker = workers.start("echo")
        pipes = BarePipes(len(encode({"type": "call", "target": TARGET, "arguments": []})))
        kept: dict[str, list[float]] = {BARE: [], REQUEST: [], AGAIN: [], FREE: []}
        medians = in_turn(
            {
                BARE: lambda: batch_us(pipes.ask, kept[BARE]),
                REQUEST: lambda: batch_us(lambda: worker.call(TARGET, []), kept[REQUEST]),
                AGAIN: lambda: batch_us(pipes.ask, kept[AGAIN]),
                FREE: lambda: batch_us(lambda: free.call(TARGET, []), kept[FREE], CPUS),
            },
            arguments.rounds,
        )
        pipes.close()
        worker.close()
        free.close()
    print(f"round trip, {arguments.rounds} turns of {BATCH}; {machine_line()}")
    for side, times in kept.items():
        times.sort()
        ratio = "" if side == BARE else str(paired_ratio(medians[side], medians[BARE]))
        p95 = times[len(times) * 95 // 100]
        print(
            f"  {side:<18} median {statistics.median(times):>7.1f} us  p95 {p95:>7.1f}  least {times[0]:>6.1f}  {ratio}"
        )
    targets.judge("round trip of a small request, median", statistics.median(kept[REQUEST]), 50, "us")
    return targets.status(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
