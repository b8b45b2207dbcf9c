"""The destinations that come with the package; the modules themselves are imported on first use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import FOREIGN_ERRORS, ConfigError
from ..plots import register as register_plots
from ..registry import Entry, Registry

if TYPE_CHECKING:
    from .base import Sink

SINKS: tuple[Entry, ...] = (
    Entry(
        name="csv",
        target="pytest_llmci.sinks.csv:CsvSink",
        summary="results.csv, one row a round, and summary.csv, one row a model; TARGET: another folder",
    ),
    Entry(
        name="json",
        target="pytest_llmci.sinks.json:JsonSink",
        summary="results.json, everything, and metrics.json, for dvc metrics; TARGET: another folder",
    ),
    Entry(
        name="pytest-benchmark",
        target="pytest_llmci.sinks.pytest_benchmark:PytestBenchmarkSink",
        summary="each cell's latencies for pytest-benchmark compare and the tools that read its JSON; TARGET: the file",
    ),
    Entry(
        name="github-benchmark",
        target="pytest_llmci.sinks.github_benchmark:GithubBenchmarkSink",
        summary="the models' medians for github-action-benchmark; TARGET: the file, beside which a second is for what is better greater",
    ),
    Entry(
        name="otava",
        target="pytest_llmci.sinks.otava:OtavaSink",
        summary="a row a run in a CSV file for Apache Otava; TARGET: the file, or a file a model with {model} in it",
    ),
    Entry(
        name="markdown",
        target="pytest_llmci.sinks.markdown:MarkdownSink",
        summary="the run for a comment on a pull request; TARGET: the file (summary.md in the run folder)",
    ),
    Entry(
        name="html",
        target="pytest_llmci.sinks.html:HtmlSink",
        summary="the run as one page for people, with its figures, no network; TARGET: the file (report.html in the run folder)",
    ),
    Entry(
        name="plots",
        target="pytest_llmci.sinks.plots:PlotsSink",
        summary="figures of the run as PNG and SVG, in plots/ of its folder; TARGET: another folder",
    ),
    Entry(
        name="dvc",
        target="pytest_llmci.sinks.dvc:DvcSink",
        summary="metrics, plots and the whole run behind a pointer, for git and DVC; TARGET: folder (llmci-dvc)",
    ),
    Entry(
        name="mlflow",
        target="pytest_llmci.sinks.mlflow:MlflowSink",
        extra="pytest-llmci[mlflow]",
        summary="a run in MLflow, with one below it for each model; TARGET: the store, such as http://127.0.0.1:5000",
    ),
)
DEFAULT_SINKS: tuple[str, ...] = ("csv", "json")
"""What every run folder gets."""


def register(registry: Registry) -> None:
    """Add all of them to a session's table, and what they draw."""
    for entry in SINKS:
        registry.add("sink", entry.name, entry.target, extra=entry.extra, summary=entry.summary)
    register_plots(registry)


def open_sink(text: str, registry: Registry, where: str) -> Sink:
    """The sink that ``NAME`` or ``NAME:TARGET`` asks for.

    :param where: the option that held the text, for messages.
    :raises ConfigError: if the name is unknown, its package is missing, or it refuses the target.
    """
    name, _, target = text.partition(":")
    factory = registry.load("sink", name, where)
    if not callable(factory):
        target = registry.get("sink", name, where).target
        raise ConfigError(f"{where}: sink '{name}' is registered as {target}, which is no class.")
    sink: Sink = factory(target)
    if hasattr(sink, "registry"):
        sink.registry = registry
    return sink


def open_sinks(texts: Sequence[str], registry: Registry, where: str) -> list[Sink]:
    """One sink for each text, in order; the same text twice is one."""
    return [open_sink(text, registry, where) for text in dict.fromkeys(texts)]


def wants_whole_run(text: str, registry: Registry) -> bool:
    """Whether the sink takes the run folder as it is at the end, with its manifest: it comes after all others."""
    try:
        factory = registry.load("sink", text.partition(":")[0], "--llmci-sink")
    except FOREIGN_ERRORS:  # told when it is opened
        return False
    return bool(getattr(factory, "whole_run", False))


def check_builtin(texts: Sequence[str], registry: Registry, where: str) -> None:
    """Refuse what a sink of this package cannot do, before anything is measured. Those of others are opened when they write.

    :raises ConfigError: as :func:`open_sink`.
    """
    for text in texts:
        if registry.get("sink", text.partition(":")[0], where).target.startswith("pytest_llmci."):
            open_sink(text, registry, where)
