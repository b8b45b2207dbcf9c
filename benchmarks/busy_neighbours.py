"""What neighbours do to a thread beyond making it wait: its time without waiting, beside them and without them.

A busy machine explains a missed limit by the waiting that is counted, and by caches and execution units that neighbours take, which
nothing counts. This measures how much the second is: a fixed piece of work on one core, alone and beside neighbours on the same core
(``same``) or on all cores (``all``), in turn; neighbours spin, or copy memory to empty the caches. The ratio of the medians of wall
time less ``run_delay`` is printed, with that of the wall times for comparison. Whatever else runs on the machine is on both sides.

Usage::

    python -m benchmarks.busy_neighbours
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from statistics import median
from typing import Any

from pytest_llmci import profile

_SPIN = "while True: pass"
_COPY = "import numpy as np\na = np.ones(1 << 23)\nb = np.empty_like(a)\nwhile True: np.copyto(b, a)"
NEIGHBOURS = {"spinning": _SPIN, "copying 64 MiB": _COPY}
"""What they do -> their program."""


def _loop() -> None:
    total = 0
    for number in range(1_500_000):
        total += number & 7


def _matrix() -> Callable[[], None]:
    import numpy as np

    weights, vector = (
        np.ones((2048, 2048), dtype=np.float32),
        np.ones(2048, dtype=np.float32),
    )  # 16 MiB, read once a product

    def multiply() -> None:
        for _ in range(25):
            np.dot(weights, vector)

    return multiply


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall time, and of wall time less waiting."""
    with profile() as measured:
        work()
    found: Any = measured
    return found.wall_time, found.wall_time - found.run_delay


def _beside(program: str, cores: list[set[int]], work: Callable[[], None]) -> tuple[float, float]:
    """The same with a neighbour on each of the sets of cores."""
    running = [
        subprocess.Popen(  # our own program
            ["taskset", "-c", ",".join(map(str, allowed)), sys.executable, "-c", program]
        )
        for allowed in cores
    ]
    try:
        time.sleep(0.5)
        return _timed(work)
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    all_cores = os.sched_getaffinity(0)
    own = min(all_cores)
    os.sched_setaffinity(0, {own})  # as one thread that the scheduler does not move
    places = {"2 on the same core": [{own}] * 2, "1 on each core": [{core} for core in sorted(all_cores)]}
    works = {"a loop of Python": _loop, "products with a matrix of 16 MiB": _matrix()}
    for what, work in works.items():
        work()
        for doing, program in NEIGHBOURS.items():
            for place, cores in places.items():
                pairs = [(_timed(work), _beside(program, cores, work)) for _ in range(rounds)]
                wall, net = (
                    median(there[at] for _, there in pairs) / median(alone[at] for alone, _ in pairs) for at in (0, 1)
                )
                print(f"{what}, {place} {doing}: wall time x {wall:.2f}, without waiting x {net:.2f}", flush=True)


if __name__ == "__main__":
    main()
