"""Figures: one a file, each a class that holds its data and draws itself; ``base.py`` says what they share and saves them.

The table is of those that a run gets, imported on first use: what makes each of :class:`~.run_data.RunData`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import FOREIGN_ERRORS, ConfigError, MissingExtraError, described
from ..registry import Entry, Registry

if TYPE_CHECKING:
    from .base import Plot
    from .run_data import RunData

PLOTS: tuple[Entry, ...] = (
    Entry(
        name="latency",
        target="pytest_llmci.plots.average_latency:AverageLatency.of",
        summary="average latency of each model, with its interval and every round",
    ),
    Entry(
        name="latency-boxes",
        target="pytest_llmci.plots.latency_boxes:LatencyBoxes.of",
        summary="quartiles of the latency of each model, and every round",
    ),
    Entry(
        name="memory-and-cpu",
        target="pytest_llmci.plots.memory_cpu:MemoryCpu.of",
        summary="peak memory and CPU of each model",
    ),
    Entry(
        name="score-against-latency",
        target="pytest_llmci.plots.score_latency:ScoreLatency.of",
        summary="score of each model against its latency, and the Pareto front",
    ),
    Entry(
        name="cost",
        target="pytest_llmci.plots.cost:CostByPrice.of",
        summary="cost of 1,000 requests of each model at each price",
    ),
    Entry(
        name="correlations",
        target="pytest_llmci.plots.correlations:correlations",
        summary="correlation of latency, memory, CPU and score over the models",
    ),
    Entry(
        name="ttft-against-decode-rate",
        target="pytest_llmci.plots.ttft_decode:TtftDecode.of",
        summary="time to the first token against the rate of the further ones",
    ),
    Entry(
        name="latency-against-length",
        target="pytest_llmci.plots.latency_length:LatencyLength.of",
        summary="latency against the number of output tokens",
    ),
    Entry(
        name="itl-over-position",
        target="pytest_llmci.plots.token_gaps:GapsOverPosition.of",
        summary="gap before each token over its position in the answer",
    ),
    Entry(
        name="load-over-rate",
        target="pytest_llmci.plots.load_rate:LoadOverRate.of",
        summary="latency percentiles and goodput over the offered rate, where models were under load",
    ),
    Entry(
        name="history",
        target="pytest_llmci.plots.history:MetricHistory.of",
        summary="latency over the runs of the folder, with change points",
    ),
)


def register(registry: Registry) -> None:
    """Add all of them to a session's table."""
    for entry in PLOTS:
        registry.add("plot", entry.name, entry.target, extra=entry.extra, summary=entry.summary)


def plots_of(data: RunData, registry: Registry) -> Iterator[tuple[str, Plot]]:
    """Each registered plot of a run, by its name. One that cannot be made is a note that says why: it hides no other. What says
    None is of another kind of run.

    :raises MissingExtraError: if what draws is not installed.
    """
    from .base import Note

    for entry in registry.entries("plot"):
        try:
            made = _made(entry, data, registry)
            if made is None:
                continue
        except MissingExtraError:
            raise
        except FOREIGN_ERRORS as error:
            made = Note(name=entry.name, text=f"could not be made: {described(error)}")
        yield entry.name, made


def _made(entry: Entry, data: RunData, registry: Registry) -> Plot | None:
    make = registry.load("plot", entry.name, "plots")
    if not callable(make):
        raise ConfigError(f"plot '{entry.name}' is registered as {entry.target}, which cannot be called with a run.")
    factory: Callable[[RunData], Plot | None] = make
    return factory(data)
