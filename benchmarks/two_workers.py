"""Whether two models run beside each other as fast as alone: two processes of one thread, each on a core of its own.

    python -m benchmarks.two_workers [--rounds 15] [--model tiny] [--check]

In turn: a block of inferences in the first process, the same in the second, and both at once. The speed-up is the sum of
the first two wall times over the third; 2 would be no loss at all. It is judged on a quiet machine only: where the load
average is above 1.5 at the begin, or more than that much above the benchmark's own at the end, the figures are printed and
not judged, and the exit status is 2.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.pairs import Targets, in_turn, machine_line
from benchmarks.workers import worker_starter
from pytest_llmci.records import GenerationSettings, Prompt, RoundRecord, RunRequest
from pytest_llmci.runner.worker import WorkerProcess

LARGEST_LOAD = 1.5
OWN_LOAD = 2.0  # both processes compute half of the time, one of them the other half
FIRST, SECOND, BOTH = "first alone", "second alone", "both at once"


class Pair:
    """Two loaded models and the latencies that they told."""

    def __init__(self, workers: Sequence[WorkerProcess], tokens: int, inferences: int) -> None:
        """Nothing runs yet.

        :param inferences: in a block.
        """
        self._workers = workers
        settings = GenerationSettings(max_new_tokens=tokens, fixed_length=True)
        self._request = RunRequest(
            cell="pair", prompt=Prompt(id="pair", text="Name a river."), generation=settings, rounds=inferences, warmup=0
        )  # fmt: skip
        self.latency_ns: dict[str, list[float]] = {FIRST: [], SECOND: [], BOTH: []}

    def alone(self, number: int) -> float:
        """Wall seconds of a block in one process."""
        return self._timed(lambda: self._block(number, (FIRST, SECOND)[number]))

    def both(self) -> float:
        """Wall seconds of a block in each, at once."""
        threads = [threading.Thread(target=self._block, args=(number, BOTH)) for number in range(2)]

        def run() -> None:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return self._timed(run)

    def _block(self, number: int, side: str) -> None:
        def keep(record: RoundRecord) -> None:
            self.latency_ns[side].append(record.values["latency"])

        self._workers[number].run(self._request, keep)

    @staticmethod
    def _timed(run: Callable[[], None]) -> float:
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin


def measure(model: str, rounds: int, tokens: int, inferences: int, cores: Sequence[int]) -> tuple[float, float]:
    """Speed-up, and the median inference beside another over that alone."""
    with tempfile.TemporaryDirectory(prefix="llmci-two-") as name, worker_starter(Path(name)) as workers:
        both = [workers.start(model) for _ in range(2)]
        for worker, core in zip(both, cores, strict=True):
            os.sched_setaffinity(worker.pid, {core})
        pair = Pair(both, tokens, inferences)
        walls = in_turn({FIRST: lambda: pair.alone(0), SECOND: lambda: pair.alone(1), BOTH: pair.both}, rounds)
        for worker in both:
            worker.close()
    alone_s = [one + two for one, two in zip(walls[FIRST], walls[SECOND], strict=True)]
    speed_up = statistics.median(apart / together for apart, together in zip(alone_s, walls[BOTH], strict=True))
    alone = statistics.median(pair.latency_ns[FIRST] + pair.latency_ns[SECOND])
    return speed_up, statistics.median(pair.latency_ns[BOTH]) / alone


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns (default: 15)")
    parser.add_argument("--model", default="tiny", help="spec of the model (default: tiny)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer (default: 64)")
    parser.add_argument("--inferences", type=int, default=5, help="answers in a block (default: 5)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        parser.error("needs Linux and two cores")
    cores = sorted(os.sched_getaffinity(0))[:2]
    before = os.getloadavg()[0]
    speed_up, slower = measure(arguments.model, arguments.rounds, arguments.tokens, arguments.inferences, cores)
    print(f"two processes of {arguments.model} on CPUs {cores[0]} and {cores[1]}; {machine_line()}")
    targets = Targets()
    if before > LARGEST_LOAD or os.getloadavg()[0] > LARGEST_LOAD + OWN_LOAD:
        found = f"{speed_up:.3f}x, an inference {100 * (slower - 1):+.1f} %"
        targets.refuse(
            "speed-up of two over one", f"{found}; load average {before:.2f} at the begin, at most {LARGEST_LOAD}"
        )
    else:
        targets.judge("speed-up of two over one", speed_up, 1.9, "x", at_least=True)
        targets.judge("median of an inference beside another, off by", 100 * abs(slower - 1), 3, "%")
    return targets.status(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
