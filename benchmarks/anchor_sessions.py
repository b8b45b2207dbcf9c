"""Whether a small frozen computation beside every round takes away what sessions differ by.

    python -m benchmarks.anchor_sessions [--model smollm2] [--tokens 12] [--rounds 10] [--minutes 15] [--keep FILE]

A session is a fresh process of the model that answers so many times. Beside every answer two frozen decoders of numpy run on
one thread, one that fits the caches (3 MB of weights) and one that does not (63 MB), each of them twice: in the model's own
process and in another one. Sessions follow each other until the time is over, every third beside two processes that keep the CPUs
busy. Printed is the standard deviation between sessions of the logarithm of the model's CPU and net time (the median of a
session), as it is and divided, round by round, by the CPU time of an anchor.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.pairs import machine_line
from benchmarks.workers import ROOT, worker_starter
from pytest_llmci.records import GenerationSettings, Prompt, RoundRecord, RunRequest
from pytest_llmci.runner.wire import pack_arguments
from pytest_llmci.runner.worker import WorkerProcess

ANCHORS = {"cached": (4, 128, 200), "streamed": (5, 512, 12)}
"""Name -> layers, width, tokens."""
TARGET = "benchmarks.anchor_sessions:anchors_ns"
PROMPT = Prompt(id="p", text="Write a Python function that returns the n-th Fibonacci number.")
BUSY_EVERY = 3
_weights: dict[str, list[Any]] = {}


def _decoder(name: str) -> list[Any]:
    """Weights that are the same everywhere, made when they are first asked for."""
    import numpy as np

    if name not in _weights:
        layers, width, _ = ANCHORS[name]
        found = _weights[name] = []
        for layer in range(layers):
            for rows, columns in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
                bits = np.arange(rows * columns, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(layer)
                unit = (bits >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)
                found.append((unit * np.float32(2 / rows**0.5)).reshape(rows, columns))
    return _weights[name]


def _decode(name: str) -> None:
    import numpy as np

    (layers, width, tokens), weights = ANCHORS[name], _decoder(name)
    state = np.ones(width, np.float32)
    keys = np.zeros((layers, tokens, width), np.float32)
    values = np.zeros_like(keys)
    for token in range(tokens):
        for layer in range(layers):
            mixed, out, up, down = weights[4 * layer : 4 * layer + 4]
            query, keys[layer, token], values[layer, token] = np.split(state @ mixed, 3)
            scores = np.exp(keys[layer, : token + 1] @ query / np.float32(width**0.5))
            state = state + (scores @ values[layer, : token + 1]) / scores.sum() @ out
            state = state + np.maximum(state @ up, 0) @ down
            state = state / np.sqrt((state * state).mean() + np.float32(1e-6))


def anchors_ns(_backend: object) -> list[int]:
    """CPU time of each anchor, in the process that asks."""
    found = []
    for name in ANCHORS:
        _decoder(name)
        begin = time.process_time_ns()
        _decode(name)
        found.append(time.process_time_ns() - begin)
    return found


def serve() -> None:
    """What the process beside the model does: a line of numbers for each line."""
    for _ in sys.stdin:
        print(*anchors_ns(None), flush=True)


@contextmanager
def _beside(command: str, count: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _answer(worker: WorkerProcess, tokens: int) -> list[float]:
    """CPU and net time of an answer."""
    found: list[RoundRecord] = []
    generation = GenerationSettings(max_new_tokens=tokens, fixed_length=True)
    worker.run(RunRequest(cell="c", prompt=PROMPT, generation=generation, rounds=1, warmup=0), found.append)
    return [found[-1].values[name] for name in ("cpu_time", "net_time")]


def session(model: str, tokens: int, rounds: int, *, busy: bool) -> list[list[float]]:
    """Of each round: CPU and net time of the model, then the anchors in its process and in the other one."""
    with (
        tempfile.TemporaryDirectory(prefix="llmci-anchor-") as name,
        worker_starter(Path(name)) as workers,
        _beside("while True: pass", 2 if busy else 0),
        _beside("from benchmarks.anchor_sessions import serve; serve()") as (other,),
    ):
        worker = workers.start(model)
        assert other.stdin is not None
        assert other.stdout is not None
        found = []
        for _ in range(rounds + 1):
            answer = _answer(worker, tokens)
            inside: Any = worker.call(TARGET, pack_arguments([]))
            other.stdin.write("\n")
            other.stdin.flush()
            outside = [float(text) for text in other.stdout.readline().split()]
            found.append([*answer, *map(float, inside), *outside])
        worker.close()
        return found[1:]


def show(sessions: Sequence[Sequence[Sequence[float]]]) -> None:
    """The table."""
    import numpy as np

    from pytest_llmci.stats.location import hodges_lehmann

    logs = np.log(np.asarray(sessions))  # [sessions, rounds, 6]
    names = [f"{name}, {place}" for place in ("its process", "another process") for name in ANCHORS]
    print(f"{len(sessions)} sessions; SD between sessions in per cent, 90 % interval by the bootstrap")
    for column, metric in enumerate(("cpu_time", "net_time")):
        print(f"  {metric:<34} {_spread(hodges_lehmann(logs[..., column]))}")
        for anchor, name in enumerate(names, 2):
            print(f"    by {name:<29} {_spread(hodges_lehmann(logs[..., column] - logs[..., anchor]))}")


def _spread(places: Any) -> str:
    rng = random.Random(1)
    values = [100 * float(place) for place in places]
    drawn = sorted(statistics.stdev(rng.choices(values, k=len(values))) for _ in range(2000))
    return f"{statistics.stdev(values):5.1f} ({drawn[100]:.1f} to {drawn[1900]:.1f})"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="model (default: smollm2)")
    parser.add_argument("--tokens", type=int, default=12, help="tokens of an answer (default: 12)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of a session (default: 10)")
    parser.add_argument("--minutes", type=float, default=15, help="how long to measure (default: 15)")
    parser.add_argument("--keep", type=Path, help="file to which sessions are added, and from which they are read")
    arguments = parser.parse_args()
    print(machine_line(), flush=True)
    kept = arguments.keep
    sessions = [json.loads(line) for line in kept.read_text().splitlines()] if kept and kept.exists() else []
    end = time.monotonic() + 60 * arguments.minutes
    while time.monotonic() < end:
        busy = len(sessions) % BUSY_EVERY == BUSY_EVERY - 1
        sessions.append(session(arguments.model, arguments.tokens, arguments.rounds, busy=busy))
        if kept:
            with kept.open("a") as stream:
                stream.write(json.dumps(sessions[-1]) + "\n")
    if len(sessions) > 2:
        show(sessions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
