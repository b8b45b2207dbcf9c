"""What ``--llmci-anchor`` costs: its time and memory, and what it does to the rounds beside it.

    python -m benchmarks.frozen_model [--model smollm2] [--tokens 16] [--rounds 30]

Three processes of one model answer in turn: two without the frozen model (the second one is the control) and one with it, whose
rounds have it before and after them by turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.pairs import in_turn, machine_line, paired_ratio
from benchmarks.workers import worker_starter
from pytest_llmci.records import GenerationSettings, Prompt, RoundRecord, RunRequest
from pytest_llmci.runner.worker import WorkerProcess

PROMPT = Prompt(id="p", text="Write a Python function that returns the n-th Fibonacci number.")
METRICS = ("cpu_time", "net_time", "latency", "ttft")


def answering(worker: WorkerProcess, tokens: int) -> Callable[[], list[RoundRecord]]:
    """Two rounds at a time, so that the frozen model stands once before and once after one."""
    request = RunRequest(
        cell="c", prompt=PROMPT, generation=GenerationSettings(max_new_tokens=tokens, fixed_length=True), rounds=2, warmup=0,
        anchor_every=1,
    )  # fmt: skip

    def ask() -> list[RoundRecord]:
        found: list[RoundRecord] = []
        worker.run(request, found.append)
        return found

    return ask


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="model (default: smollm2)")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of an answer (default: 16)")
    parser.add_argument("--rounds", type=int, default=30, help="pairs of rounds a side (default: 30)")
    arguments = parser.parse_args()
    print(f"{arguments.model}, {arguments.tokens} tokens; {machine_line()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="llmci-") as name, worker_starter(Path(name)) as workers:
        started = {side: workers.start(arguments.model, anchor=side == "with") for side in ("without", "again", "with")}
        found = in_turn(
            {side: answering(worker, arguments.tokens) for side, worker in started.items()}, arguments.rounds
        )
        for worker in started.values():
            worker.close()
    for metric in METRICS:
        numbers = {side: [[each.values[metric] for each in pair] for pair in pairs] for side, pairs in found.items()}
        print(f"  {metric:<10}", end="")
        for place, text in enumerate(("after it", "before it")):
            plain = [pair[place] for pair in numbers["without"]]
            for side, what in (("with", text), ("again", "control")):
                print(f"  {what} {paired_ratio([pair[place] for pair in numbers[side]], plain)}", end="")
        print()
    times = [each.values["anchor_cpu_time"] / 1e6 for pair in found["with"] for each in pair]
    answer = statistics.median(each.values["cpu_time"] / 1e6 for pair in found["without"] for each in pair)
    print(
        f"  the frozen model: {statistics.median(times):.1f} ms of CPU time a round, beside {answer:.0f} ms of an answer"
    )
    before = {
        side: statistics.median(each.values["rss_before"] for pair in pairs for each in pair)
        for side, pairs in found.items()
    }
    added, control = ((before[side] - before["without"]) / 2**20 for side in ("with", "again"))
    print(f"  resident memory: {added:+.1f} MiB (control {control:+.1f} MiB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
