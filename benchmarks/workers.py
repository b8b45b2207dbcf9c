"""Model processes for the benchmarks, started as the plugin starts them, and the functions that run in them."""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pytest_llmci import backends, measure
from pytest_llmci.clock import SystemClock
from pytest_llmci.registry import Registry
from pytest_llmci.runner.guard import Guard
from pytest_llmci.runner.model_worker import Limits, WorkerSetup
from pytest_llmci.runner.worker import WorkerProcess
from pytest_llmci.specs import parse_spec

ROOT = Path(__file__).resolve().parents[1]
LONG_S = 30
"""How long a call hangs if nobody kills it."""


class Workers:
    """Starts model processes; each is closed by who asked for it."""

    def __init__(self, folder: Path, *, inference_s: float = 300.0) -> None:
        """Nothing is started yet.

        :param folder: for logs.
        :param inference_s: the hard limit of one inference.
        """
        self._registry = Registry()
        backends.register(self._registry)
        measure.register(self._registry)
        self._guard = Guard()
        self._setup = WorkerSetup(
            registry=self._registry,
            limits=Limits(inference_s=inference_s),
            cache_dir=str(folder / "cache"),
            log_folder=folder,
            sys_path=(str(ROOT),),
        )
        self._started = 0

    def start(self, text: str, *, anchor: bool = False) -> WorkerProcess:
        """A loaded model.

        :param text: its spec, as for ``--llm-models``.
        :param anchor: whether the frozen model is timed beside its rounds.
        """
        worker = self._begun(text, anchor=anchor)
        worker.load()
        return worker

    def load_values(self, text: str) -> dict[str, float]:
        """What a fresh process knows of its own start, as it is stored; the process ends.

        :param text: its spec.
        """
        worker = self._begun(text)
        try:
            return worker.load().values
        finally:
            worker.close()

    def _begun(self, text: str, *, anchor: bool = False) -> WorkerProcess:
        self._started += 1
        spec = parse_spec(text, self._registry.names("backend"), "benchmark")
        setup = replace(self._setup, anchor=anchor)
        return WorkerProcess(spec, setup, clock=SystemClock(), guard=self._guard, number=self._started)

    def close(self) -> None:
        """End what watches over the processes."""
        self._guard.close()


@contextmanager
def worker_starter(folder: Path, *, inference_s: float = 300.0) -> Iterator[Workers]:
    """Model processes for a block."""
    workers = Workers(folder, inference_s=inference_s)
    try:
        yield workers
    finally:
        workers.close()


# --------------------------------------------------------------------------------------- what runs in those processes


def nothing(_backend: object) -> None:
    """The smallest request."""


def hang(prompt: str) -> str:
    """A long C call that keeps the interpreter lock, with a process of its own beside it.

    :param prompt: file that gets the moment of its begin (perf_counter_ns), and ``sleep`` or ``power``.
    """
    path, way = prompt.rsplit(" ", 1)
    helper = subprocess.Popen(["sleep", str(LONG_S)])
    Path(path).write_text(f"{time.perf_counter_ns()} {helper.pid}", encoding="ascii")
    if way == "sleep":
        ctypes.PyDLL(None).sleep(LONG_S)
    else:
        pow(3, 1 << 30)
    return "woken"


def hang_in_call(_backend: object, path: str, way: str) -> str:
    """As :func:`hang`, for ``llm.call``."""
    return hang(f"{path} {way}")


class Large:
    """A model that holds several hundred megabytes on the heap."""

    def __init__(self) -> None:
        """Take them: blocks too small for the allocator to map each for itself."""
        self._blocks = [bytearray(b"x") * 65_536 for _ in range(8_000)]

    def __call__(self, prompt: str) -> Iterator[str]:
        """Five words; the memory is walked for each."""
        for _ in range(5):
            yield f"word{sum(block[0] for block in self._blocks) % 7} "
