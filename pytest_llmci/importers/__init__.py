"""Formats of other tools that ``llmci import`` reads: one file a tool, imported when a file may be of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.imported import ImportedFile
from ..errors import ConfigError
from ..registry import Entry, Registry

if TYPE_CHECKING:
    from .base import Importer
    from .source import Source

IMPORTERS: tuple[Entry, ...] = (
    Entry(
        name="pytest-benchmark",
        target="pytest_llmci.importers.pytest_benchmark:PytestBenchmark",
        summary="pytest-benchmark's JSON (--benchmark-json, --benchmark-save)",
    ),
    Entry(
        name="llama-bench",
        target="pytest_llmci.importers.llama_bench:LlamaBench",
        summary="llama-bench -o json, jsonl, csv or md",
    ),
    Entry(
        name="vllm-serve",
        target="pytest_llmci.importers.vllm_serve:VllmServe",
        summary="vllm bench serve --save-result: JSON, JSON lines, or a CSV table of its numbers",
    ),
    Entry(
        name="vllm-offline",
        target="pytest_llmci.importers.vllm_offline:VllmOffline",
        summary="vllm bench latency or throughput --output-json",
    ),
    Entry(
        name="lm-eval",
        target="pytest_llmci.importers.lm_eval:LmEval",
        summary="lm-evaluation-harness: results_*.json",
    ),
    Entry(
        name="guidellm",
        target="pytest_llmci.importers.guidellm:GuideLlm",
        summary="guidellm benchmark: benchmarks.json",
    ),
    Entry(
        name="aiperf",
        target="pytest_llmci.importers.aiperf:AiPerf",
        summary="AIPerf: profile_export_aiperf.json, profile_export.jsonl",
    ),
    Entry(
        name="llmperf",
        target="pytest_llmci.importers.llmperf:LlmPerf",
        summary="LLMPerf: the summary, or the individual responses",
    ),
    Entry(
        name="mlperf",
        target="pytest_llmci.importers.mlperf:MlPerf",
        summary="MLPerf LoadGen: mlperf_log_summary.txt",
    ),
)
"""In the order in which files are shown to them."""


def register(registry: Registry) -> None:
    """Add all of them to a table."""
    for entry in IMPORTERS:
        registry.add("importer", entry.name, entry.target, extra=entry.extra, summary=entry.summary)


def read_files(paths: Sequence[Path], registry: Registry, *, name: str = "") -> list[ImportedFile]:
    """Read files of other tools.

    :param name: the format; empty: recognised, for each file by itself.
    :raises ConfigError: in one line, if a file cannot be read or is of no known tool, or is named twice.
    """
    found = [_read(path, registry, name) for path in paths]
    seen: dict[str, ImportedFile] = {}
    for file in found:
        there = seen.setdefault(file.sha256, file)
        if there is not file:
            raise ConfigError(f"import: {there.name} and {file.name} are the same file: repetitions have to be measured.")  # fmt: skip
    return found


def _read(path: Path, registry: Registry, name: str) -> ImportedFile:
    from .source import Source

    source = Source(path)
    name = name or _recognised(source, registry)
    read = _importer(name, registry).read(source)
    if not read.cells:
        raise ConfigError(f"import: {path} ({name}) holds no result.")
    return ImportedFile(
        name=source.name, size=source.size, md5=source.md5, sha256=source.sha256, format=name, tool=read.tool,
        cells=read.cells, machine=read.machine, notes=read.notes,
    )  # fmt: skip


def _importer(name: str, registry: Registry) -> Importer:
    factory = registry.load("importer", name, "--format")
    assert callable(factory)  # the table names classes
    importer: Importer = factory()
    return importer


def _recognised(source: Source, registry: Registry) -> str:
    if source.kind == "json":
        source.document  # noqa: B018  # a file that is cut says so, rather than that it is of no known tool
    names = [entry.name for entry in registry.entries("importer")]
    found = [name for name in names if _importer(name, registry).recognises(source)]
    if len(found) == 1:
        return found[0]
    known = f"Known: {', '.join(names)}."
    if found:
        raise ConfigError(f"import: {source.path} may be of {' or '.join(found)}: say which with --format.")
    raise ConfigError(f"import: {source.path} is of no tool that is known here. {known} --format NAME names one.")
