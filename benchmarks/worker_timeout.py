"""How soon a model that hangs is dead: the hard time limit against a C call that keeps the interpreter lock.

    python -m benchmarks.worker_timeout [--times 200] [--check]

A model's process sleeps in C, or raises a number to a huge power, without letting go of the lock, and has a child process
beside it. Every other time the call is an inference (`llm.generate`), whose limit counts from its begin in that process;
else `llm.call`, whose limit counts from the request. Measured is the time from that moment on, less the limit, until the
process has been killed and reaped and the error is raised. Whatever is left of its process group is an orphan. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.pairs import Targets, machine_line, show_progress
from benchmarks.workers import Workers, worker_starter
from pytest_llmci.errors import WorkerTimeout
from pytest_llmci.records import GenerationSettings, Prompt, RunRequest
from pytest_llmci.runner.wire import pack_arguments
from pytest_llmci.runner.worker import WorkerProcess

LIMIT_S = 0.25
SPEC = "hanging=py:benchmarks.workers:hang"
INFERENCE, CALL = "inference", "llm.call"


def inference(worker: WorkerProcess, path: Path, way: str) -> int:
    """Hang in an inference; when its limit began to count."""
    request = RunRequest(
        cell="hanging", prompt=Prompt(id="hang", text=f"{path} {way}"), generation=GenerationSettings(), rounds=1, warmup=0
    )  # fmt: skip
    expect_timeout(lambda: worker.run(request, lambda _: None))
    return int(path.read_text("ascii").split()[0])


def call(worker: WorkerProcess, path: Path, way: str) -> int:
    """Hang in a request; when its limit began to count."""
    begin = time.perf_counter_ns()
    expect_timeout(lambda: worker.call("benchmarks.workers:hang_in_call", pack_arguments((str(path), way))))
    return begin


def expect_timeout(ask: Callable[[], object]) -> None:
    """Ask what is never answered.

    :raises SystemExit: if it is.
    """
    try:
        ask()
    except WorkerTimeout:
        return
    raise SystemExit("worker_timeout: the call that should have hung was answered.")


def group_members(group: int) -> list[int]:
    """Living processes of a group, and dead ones that are ours to reap; others' dead are left to their parent, init."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        state, parent, its_group = fields[0], int(fields[1]), int(fields[2])
        if its_group == group and (state not in "ZX" or parent == os.getpid()):
            found.append(int(folder.name))
    return found


def settled_orphans(group: int) -> list[int]:
    """Members of the group that are still there 50 ms after the kill, in which the kernel lets them die."""
    end = time.monotonic() + 0.05
    while (members := group_members(group)) and time.monotonic() < end:
        time.sleep(0.01)
    return members


def late_ms(workers: Workers, kind: str, path: Path, way: str) -> tuple[float, list[int]]:
    """How late one process was dead, and who outlived it."""
    worker = workers.start(SPEC)
    begin = (inference if kind == INFERENCE else call)(worker, path, way)
    late = (time.perf_counter_ns() - begin) / 1e6 - 1000 * LIMIT_S
    alive = Path(f"/proc/{worker.pid}").exists()
    return late, settled_orphans(worker.pid) + ([worker.pid] if alive else [])


def report(kind: str, late: Sequence[float], targets: Targets) -> None:
    """The figures of one kind."""
    print(f"{kind}: {len(late)} times; median {statistics.median(late):.1f} ms after the limit")
    targets.judge(f"{kind}: dead and reaped after the limit, worst", max(late), 50, "ms")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="processes that are killed (default: 200)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("needs Linux's /proc")
    late: dict[str, list[float]] = {INFERENCE: [], CALL: []}
    orphans: list[int] = []
    with (
        tempfile.TemporaryDirectory(prefix="llmci-hang-") as name,
        worker_starter(Path(name), inference_s=LIMIT_S) as workers,
    ):
        for number in range(arguments.times):
            kind, way = (INFERENCE, CALL)[number % 2], ("sleep", "power")[number // 2 % 2]
            after, left = late_ms(workers, kind, Path(name, f"begin-{number}"), way)
            late[kind].append(after)
            orphans += left
            show_progress(f"{number + 1} of {arguments.times}", last=number + 1 == arguments.times)
    targets = Targets()
    print(f"limit {LIMIT_S} s; {machine_line()}")
    for kind, values in late.items():
        report(kind, values, targets)
    targets.judge("processes left", len(orphans), 0, "")
    return targets.status(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
