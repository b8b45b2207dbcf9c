"""The instruments that come with the package, and the definitions of all that is measured.

The first four share their readings of the kernel and are fused into one region (``region.py``); any other one, built-in
or a plugin's, is an :class:`~pytest_llmci.measure.base.Instrument` that runs around it. To add one: a file beside these
and an entry in :data:`INSTRUMENTS`.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from ..metrics import MetricDef
from ..registry import Entry, Registry, import_target
from .score import SCORE
from .starts import WORKER_METRICS

FUSED: tuple[Entry, ...] = (
    Entry(
        name="latency",
        target="pytest_llmci.measure.latency:LatencyInstrument",
        summary="when tokens arrive: latency, time to first token, gaps, rates",
    ),
    Entry(
        name="memory",
        target="pytest_llmci.measure.memory:MemoryInstrument",
        summary="peak resident memory by the kernel's high-water mark",
    ),
    Entry(
        name="cpu",
        target="pytest_llmci.measure.cpu:CpuInstrument",
        summary="CPU time of the process and its share of the allowed cores",
    ),
    Entry(
        name="noise",
        target="pytest_llmci.measure.noise:NoiseInstrument",
        summary="what disturbed a round: run delay, preemptions, page-ins, steal",
    ),
)
"""Built-in instruments that share one set of readings."""
INSTRUMENTS: tuple[Entry, ...] = (
    *FUSED,
    Entry(
        name="neighbours",
        target="pytest_llmci.measure.neighbours:NeighboursInstrument",
        summary="what the machine's other work did: waits of all threads, CPU pressure",
    ),
    Entry(
        name="children",
        target="pytest_llmci.measure.children:ChildrenInstrument",
        summary="peak memory of processes that the model's process has started",
    ),
    Entry(
        name="kv_cache",
        target="pytest_llmci.measure.kv_cache:KvCacheInstrument",
        summary="what each token adds to the keys and values that the model keeps",
    ),
    Entry(
        name="endpoint",
        target="pytest_llmci.measure.endpoint:EndpointInstrument",
        summary="what a stream tells beside its tokens: first reasoning, first answer, cached tokens, retries",
    ),
    Entry(
        name="gpu",
        target="pytest_llmci.measure.gpu:GpuInstrument",
        summary="memory of the CUDA device by PyTorch's allocator, and how busy it was",
    ),
    Entry(
        name="energy",
        target="pytest_llmci.measure.energy:EnergyInstrument",
        summary="joules of the GPU's board (NVML) or the CPU packages (RAPL)",
    ),
)
"""All built-in instruments."""


def register(registry: Registry) -> None:
    """Add the built-in instruments to a session's table."""
    for entry in INSTRUMENTS:
        registry.add("instrument", entry.name, entry.target, extra=entry.extra, summary=entry.summary)


def builtin_metrics() -> tuple[MetricDef, ...]:
    """The definitions of everything that is measured without plugins, in the order in which it is shown."""
    found: list[MetricDef] = []
    for entry in INSTRUMENTS:
        instrument: Any = import_target(entry.target, f"instrument '{entry.name}'")
        found += instrument.metrics
    return (*found, *WORKER_METRICS, SCORE)


def metric_defs(registry: Registry) -> tuple[MetricDef, ...]:
    """The built-in definitions and those of all further registered instruments.

    :raises ConfigError: if an instrument cannot be used, or declares a name that is taken.
    :raises MissingExtraError: if an instrument needs a package that is not installed.
    """
    from .plugins import plugin_instruments

    found = list(builtin_metrics())
    owners = {metric.name: "pytest-llmci" for metric in found}
    built_in = {entry.name for entry in INSTRUMENTS}
    for name, factory in plugin_instruments(registry):
        for metric in () if name in built_in else factory.metrics:
            if metric.name in owners:
                raise ConfigError(
                    f"instrument '{name}': metric '{metric.name}' is taken by {owners[metric.name]};"
                    " choose another name."
                )
            owners[metric.name] = f"instrument '{name}'"
            found.append(metric)
    return tuple(found)
