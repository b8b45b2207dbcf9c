"""Loading: a model's process whose parts take known times, and a model of known size."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ... import backends, measure
from ...clock import SystemClock, outside_s
from ...records import GenerationSettings, Missing, ModelSpec, Number, Role, RoundRecord, RunRequest
from ...registry import Registry
from ...runner.guard import Guard
from ...runner.model_worker import Limits, WorkerSetup
from ...runner.worker import WorkerProcess
from .base import PROMPT, Sighting, Truth, metric_table, reported
from .waiting import OtherWork

LATE_S: Final = 0.3
BETWEEN_S: Final = (
    0.02  # finding a module on disk, and a message from process to process, belong to one part or the other
)
FIRST_SLACK_S: Final = 0.005  # a call and a return, and what may take the CPU between them
ARENA_BYTES: Final = 1 << 20  # Python takes its small objects' memory in such pieces
TINY_BYTES: Final = 4 * (2 * 259 * 64 + 4 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64) + 64)
"""Of ``tiny``: 259 rows of 64 numbers at either end, 4 layers, a last norm; 4 bytes a number."""
TINY_BUFFER_BYTES: Final = 64  # frequencies of the positions: 8 numbers, kept once or twice, by version of transformers
TINY_BYTES_A_TOKEN: Final = 4 * 2 * 4 * 64
"""A key and a value of 64 numbers in each of 4 layers; 4 bytes a number."""
NO_TORCH: Final = Missing("it needs torch and transformers: pip install 'pytest-llmci[transformers]'")


@contextmanager
def worker(spec: ModelSpec, role: Role = "timing") -> Iterator[WorkerProcess]:
    """A model's process as a session starts it, not yet loaded."""
    registry = Registry()
    backends.register(registry)
    measure.register(registry)
    registry.add("backend", "planted", "pytest_llmci.engine.planted_model:PlantedModel")
    guard = Guard()
    with tempfile.TemporaryDirectory(prefix="llmci-") as folder:
        setup = WorkerSetup(
            registry=registry, limits=Limits(inference_s=60, load_s=60), cache_dir=folder, log_folder=Path(folder),
            sys_path=tuple(sys.path),
        )  # fmt: skip
        process = WorkerProcess(spec, setup, role, clock=SystemClock(), guard=guard, number=1)
        try:
            yield process
        finally:
            process.close()
            guard.close()


@contextmanager
def _late_interpreter() -> Iterator[dict[str, str]]:
    """The key of a spec for a Python that waits before it starts; none where scripts cannot be run."""
    with tempfile.TemporaryDirectory(prefix="llmci-") as folder:
        script = Path(folder, "python")
        script.write_text(f'#!/bin/sh\nsleep {LATE_S}\nexec {shlex.quote(sys.executable)} "$@"\n', "utf-8")
        script.chmod(0o700)
        can_run = os.name == "posix" and os.access(script, os.X_OK)  # not in a folder mounted noexec
        yield {"python": str(script)} if can_run else {}


def plant_start() -> Sequence[Sighting] | Missing:
    """A process whose start, imports, loading and first answer are timed by one clock of the whole machine."""
    rounds: list[RoundRecord] = []
    request = RunRequest(cell="planted", prompt=PROMPT, generation=GenerationSettings(), rounds=1, warmup=1)
    with _late_interpreter() as options:
        spawned, others = outside_s(), OtherWork()
        with worker(ModelSpec(alias="planted", backend="planted", text="planted", options=options)) as process:
            loaded = process.load()
            process.run(request, rounds.append)
        doubt = others.doubt()
    info = {name: float(value) for name, value in loaded.info.items() if isinstance(value, int | float)}
    values, reasons = loaded.values | rounds[0].worker_values, loaded.reasons

    def see(metric: str, planted: float, tolerance: float = BETWEEN_S, *, doubt: str = doubt) -> Sighting:
        return Sighting(
            metric=metric, planted=planted, reported=_told(metric, values, reasons), tolerance=tolerance, doubt=doubt
        )

    found = [
        see("start_time", info["imported_s"] - spawned),
        see("import_time", info["prepared_s"] - info["imported_s"]),
        see("load_time", info["load_end_s"] - info["load_begin_s"]),
        see("first_inference_time", float(rounds[0].completion.text), FIRST_SLACK_S),
    ]
    if "load_height_bytes" in info:
        slack = info.get("peak_rss_resolution_bytes", ARENA_BYTES)
        found.append(see("load_peak_rss", info["load_height_bytes"], slack, doubt=""))
    return found


def _told(metric: str, values: Mapping[str, float], reasons: Mapping[str, str]) -> Number:
    if metric in values:
        return metric_table()[metric].to_si(values[metric])
    return Missing(reasons.get(metric, "the process did not tell"))


def plant_tiny() -> Sequence[Sighting] | Missing:
    """A model whose size can be counted on paper."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        return NO_TORCH
    rounds: list[RoundRecord] = []
    request = RunRequest(
        cell="tiny", prompt=PROMPT, generation=GenerationSettings(max_new_tokens=8), rounds=1, warmup=0
    )
    with worker(ModelSpec(alias="tiny", backend="tiny", text="tiny")) as process:
        loaded = process.load()
        process.run(request, rounds.append)
    footprint = _told("model_footprint", loaded.values, loaded.reasons)
    return [
        Sighting(metric="model_footprint", planted=TINY_BYTES, reported=footprint, tolerance=TINY_BUFFER_BYTES),
        Sighting(
            metric="kv_cache_per_token",
            planted=TINY_BYTES_A_TOKEN,
            reported=reported(rounds[0], "kv_cache_per_token"),
            tolerance=0,
        ),
    ]


TRUTHS: Final = (
    Truth(
        name="a process 300 ms late, 200 ms imports, 300 ms and 64 MiB load, 150 ms answer",
        metrics=("start_time", "import_time", "load_time", "first_inference_time", "load_peak_rss"),
        plant=plant_start,
    ),
    Truth(
        name="weights and cache of the model 'tiny', counted on paper",
        metrics=("model_footprint", "kv_cache_per_token"),
        plant=plant_tiny,
        quick=False,
    ),
)
