"""The OpenMP trap, shown: two threads that wait for each other on cores that others want as well."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from ...records import Missing
from ...runner.wire import readable
from ..planted.waiting import rival

RUN_S: Final = 1.0
LOAD_LIMIT_S: Final = 30.0  # torch's import from a cold disk
RUN_LIMIT_S: Final = 6.0
SETTINGS: Final = ((1, "PASSIVE"), (2, "PASSIVE"), (2, "ACTIVE"))
"""Threads, and how OpenMP's threads wait."""
_SCRIPT: Final = """
import os, sys, time
cpus, threads, run_s = [int(cpu) for cpu in sys.argv[1].split(",")], int(sys.argv[2]), float(sys.argv[3])
os.sched_setaffinity(0, cpus)
import torch
torch.set_num_threads(1)
rows = torch.randn(64, 768)
weights = [torch.randn(768, 768) / 28 for _ in range(4)]
torch.set_num_threads(threads)
def step():
    x = rows
    for weight in weights:
        x = torch.tanh(x @ weight)
print("ready", flush=True)
for _ in sys.stdin:
    step()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() < begin + run_s:
        step()
        steps += 1
    print((time.perf_counter() - begin) / steps, flush=True)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ThreadTiming:
    """What a few layers of a small model took under one setting."""

    threads: int
    wait_policy: str
    """``OMP_WAIT_POLICY``."""
    alone_s: float
    busy_s: float
    """With a busy process on each of the two cores; where it took longer than the limit, the limit."""
    stuck: bool = False
    """True where not one second's work was done within the limit."""


def show_trap() -> list[ThreadTiming] | Missing:
    """Time the same few layers under each setting, on two cores, without and with busy neighbours.

    :returns: one timing for each of :data:`SETTINGS`; about ten seconds. A reason where it cannot be shown.
    """
    if find_spec("torch") is None:
        return Missing("torch is not installed, so no model here uses OpenMP's threads")
    if not hasattr(os, "sched_getaffinity"):
        return Missing("this system cannot bind a process to chosen cores")
    cpus = sorted(os.sched_getaffinity(0))[-2:]
    if len(cpus) < 2:
        return Missing("there is one core only: more threads than one never pay there")
    try:
        return [_time_setting(cpus, threads, policy) for threads, policy in SETTINGS]
    except (OSError, ValueError, TimeoutError) as error:
        return Missing(f"the layers could not be timed: {error}")


def _time_setting(cpus: list[int], threads: int, policy: str) -> ThreadTiming:
    with _layers(cpus, threads, policy) as child:
        if _line(child, LOAD_LIMIT_S) != "ready":
            raise TimeoutError(f"torch was not imported within {LOAD_LIMIT_S:.0f} s")
        alone = _run(child)
        with ExitStack() as rivals:
            for cpu in cpus:
                rivals.enter_context(rival(cpu))
            busy = _run(child)
    if alone is None:
        raise TimeoutError(f"no step was done within {RUN_LIMIT_S:.0f} s")
    return ThreadTiming(
        threads=threads, wait_policy=policy, alone_s=alone, busy_s=busy or RUN_LIMIT_S, stuck=busy is None
    )


@contextmanager
def _layers(cpus: list[int], threads: int, policy: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    env |= {"OMP_WAIT_POLICY": policy, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    child = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, ",".join(map(str, cpus)), str(threads), str(RUN_S)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, bufsize=0,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _run(child: subprocess.Popen[bytes]) -> float | None:
    """Seconds a step; None where it did not answer in time."""
    assert child.stdin is not None
    child.stdin.write(b"go\n")
    answer = _line(child, RUN_LIMIT_S)
    return float(answer) if answer else None


def _line(child: subprocess.Popen[bytes], limit_s: float) -> str:
    """The child's next line; empty where it does not come in time."""
    assert child.stdout is not None
    if not readable([child.stdout.fileno()], limit_s):
        return ""
    return child.stdout.readline().decode("ascii", "replace").strip()
