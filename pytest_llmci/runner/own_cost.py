"""What the harness itself costs, measured on a model that does nothing, in the process that measures the real one."""

from __future__ import annotations

import statistics
import time
from typing import Final

from ..measure.profile import Probe
from ..records import GenerationSettings, ModelSpec, Prompt
from ..registry import Registry
from .loop import MeasuringLoop, Progress

TOKENS: Final = 50
_ROUNDS: Final = 5
_NOTHING: Final = Prompt(id="nothing", text="nothing")


_OF_THIS_PROCESS: Final[dict[str, float]] = {}


def own_cost(registry: Registry, progress: Progress) -> dict[str, float]:
    """What the harness costs in this process; measured once, the same for every model that it loads.

    :returns: metric -> nanoseconds; nothing where the clock went back.
    """
    if not _OF_THIS_PROCESS:
        _OF_THIS_PROCESS.update(_measured(registry, progress))
    return dict(_OF_THIS_PROCESS)


def _measured(registry: Registry, progress: Progress) -> dict[str, float]:
    """Median cost of a few inferences of ``echo`` without delay, each of :data:`TOKENS` tokens."""
    from ..backends.echo import EchoBackend

    spec = ModelSpec(alias="null", backend="echo", text="echo")
    loop = MeasuringLoop(EchoBackend(spec), Probe(registry), threads=1, progress=progress, isolated=True)
    settings = GenerationSettings(max_new_tokens=TOKENS, fixed_length=True)
    within: list[float] = []
    around: list[float] = []
    for _ in range(_ROUNDS + 1):  # the first one opens the kernel's files
        begin = time.perf_counter_ns()
        record = loop.measure(_NOTHING, settings)
        whole = time.perf_counter_ns() - begin
        latency = record.values.get("latency")
        if latency is None:  # the clock went back
            return {}
        within.append(latency)
        around.append(whole - latency)
    return {"own_latency": statistics.median(within[1:]), "own_time_around": statistics.median(around[1:])}
