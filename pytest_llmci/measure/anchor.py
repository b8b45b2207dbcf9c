"""The frozen model that may be timed beside each round (``--llmci-anchor``): what slows the machine down slows it down, too.

A decoder of numpy with fixed weights that fits the caches; in the model's own process, where alone it was found to help. All
that it needs is allocated once, before anything is measured: its rounds add nothing to a peak of memory, its being there a
constant. numpy is imported when it is built, never before.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, Final

from ..metrics import BESIDE, MetricDef
from ..records import Json, Missing
from .base import Reading
from .cpu import net_time
from .noise import RunDelay, run_delay_ns

FROZEN_MODEL: Final = "decoder 1"
"""Raised when anything changes that its time depends on: numbers of two versions are not compared."""
LAYERS: Final = 4
WIDTH: Final = 128
TOKENS: Final = 200
TYPICAL_S: Final = 0.025
"""CPU time of one answer, measured at 3 GHz: for a plan before the first run."""
ANCHOR_CPU_TIME: Final = MetricDef(
    name=BESIDE["cpu_time"],
    unit="s",
    direction="none",
    stored="ns",
    group="cpu",
    label="frozen CPU time",
    definition="CPU time of a small frozen model that answered beside the round, in the same process (`--llmci-anchor`).",
    excludes="the round itself; missing where the model does not compute there with one thread, or numpy is not installed",
    source="thread_time_ns",
)
ANCHOR_NET_TIME: Final = MetricDef(
    name=BESIDE["net_time"],
    unit="s",
    direction="none",
    stored="ns",
    group="cpu",
    label="frozen net time",
    definition="Wall time of that frozen model minus the time its thread was ready to run but had no CPU.",
    excludes="the round itself",
    source="perf_counter_ns, /proc/thread-self/schedstat",
)
ANCHOR_METRICS: Final = (ANCHOR_CPU_TIME, ANCHOR_NET_TIME)
"""In force where ``--llmci-anchor`` is given."""
NO_NUMPY: Final = "the frozen model needs numpy, which the model's process cannot import"


class FrozenModel:
    """The decoder: weights, and room for all that an answer needs."""

    def __init__(self) -> None:
        """:raises ImportError: if there is no numpy."""
        import numpy as np

        self._np: Any = np
        self._weights = [
            _matrix(np, rows, columns, layer)
            for layer in range(LAYERS)
            for rows, columns in ((WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH))
        ]
        self._keys = np.zeros((LAYERS, TOKENS, WIDTH), np.float32)
        self._values = np.zeros_like(self._keys)
        self._delay = RunDelay()
        self.answer()  # touches every page, and opens what the first reading opens

    @property
    def name(self) -> str:
        """What its time depends on: its version, and the library that multiplies its matrices."""
        dependencies = self._np.show_config(mode="dicts").get("Build Dependencies", {})
        blas = dependencies.get("blas", {})
        parts = [FROZEN_MODEL, f"numpy {self._np.__version__}", f"{blas.get('name', '?')} {blas.get('version', '?')}"]
        return ", ".join(parts)

    def answer(self) -> float:
        """Decode once.

        :returns: the sum of the last state.
        """
        np, keys, values = self._np, self._keys, self._values
        scale, tiny = np.float32(WIDTH**0.5), np.float32(1e-6)
        state = np.ones(WIDTH, np.float32)
        for token in range(TOKENS):
            for layer in range(LAYERS):
                mixed, out, up, down = self._weights[4 * layer : 4 * layer + 4]
                query, keys[layer, token], values[layer, token] = np.split(state @ mixed, 3)
                scores = np.exp(keys[layer, : token + 1] @ query / scale)
                state = state + (scores @ values[layer, : token + 1]) / scores.sum() @ out
                state = state + np.maximum(state @ up, 0) @ down
                state = state / np.sqrt((state * state).mean() + tiny)
        return float(state.sum())

    def time(self) -> dict[str, Reading]:
        """Metric -> nanoseconds of one answer, the garbage collector held off."""
        collects = gc.isenabled()
        gc.disable()
        try:
            delay = self._delay.raw()
            begin, cpu = time.perf_counter_ns(), time.thread_time_ns()
            self.answer()
            cpu_ns, wall_ns = time.thread_time_ns() - cpu, time.perf_counter_ns() - begin
            waited = run_delay_ns(delay, self._delay.raw())
        finally:
            if collects:
                gc.enable()
        return {ANCHOR_CPU_TIME.name: cpu_ns, ANCHOR_NET_TIME.name: net_time(wall_ns, waited, 1)}


def _matrix(np: Any, rows: int, columns: int, layer: int) -> Any:
    """Weights that are the same everywhere, of a size that neither dies out nor explodes."""
    bits = np.arange(rows * columns, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(layer)
    unit = (bits >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)
    return (unit * np.float32(2 / rows**0.5)).reshape(rows, columns)


class Anchor:
    """The frozen model of a process that was asked for one, or why there is none."""

    def __init__(self, why_not: str, build: Callable[[], FrozenModel] = FrozenModel) -> None:
        """:param why_not: what keeps it from being of use here; empty: build it."""
        self._model: FrozenModel | None = None
        self.why_not = why_not
        if not why_not:
            try:
                self._model = build()
            except ImportError:
                self.why_not = NO_NUMPY

    @property
    def facts(self) -> dict[str, Json]:
        """For what is recorded of the process."""
        return {"anchor": self._model.name} if self._model is not None else {"anchor_missing": self.why_not}

    def time(self) -> dict[str, Reading]:
        """Metric -> nanoseconds, or why it is missing."""
        if self._model is None:
            return self.missing(self.why_not)
        return self._model.time()

    @staticmethod
    def missing(reason: str) -> dict[str, Reading]:
        """Both metrics, missing for that reason."""
        return {metric.name: Missing(reason) for metric in ANCHOR_METRICS}


def why_no_anchor(*, isolated: bool, threads: int, device: object, computes_here: bool) -> str:
    """Why a frozen model beside this one would tell nothing of it; empty where it would.

    :param isolated: whether the model has a process of its own.
    :param threads: CPU threads that may compute; 0 where it is not known.
    :param device: where the model says that it computes; None for the CPU.
    :param computes_here: False where another process or machine computes.
    """
    if not isolated:
        return "the frozen model needs the model's own process (--llmci-isolation=worker)"
    if not computes_here:
        return "the model computes elsewhere: a frozen model here would tell nothing of it"
    if str(device or "cpu").startswith(("cuda", "mps")):
        return f"the model computes on {device}: a frozen model on the CPU would tell nothing of it"
    if threads != 1:
        given = f"this process may use {threads}" if threads else "their number is not known here"
        return f"the frozen model is for one CPU thread; {given}"
    return ""
