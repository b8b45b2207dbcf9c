"""The end of a session: from a closed log to everything that derives from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.report import SessionReport, build_report
from ..registry import Registry
from ..store.runfolder import publish_latest
from . import DEFAULT_SINKS, open_sink


@dataclass(slots=True)
class Finished:
    """What became of a run."""

    report: SessionReport
    saved: Path
    """The folder that people are pointed to: the copy in ``latest``."""
    warnings: list[str] = field(default_factory=list)
    """One line for each further sink that failed."""


def finish_run(folder: Path, registry: Registry, sinks: Sequence[str]) -> Finished:
    """Build the report of a run, give it to every sink, and publish the folder as ``latest``.

    :param sinks: ``NAME`` or ``NAME:TARGET``, beyond :data:`~pytest_llmci.sinks.DEFAULT_SINKS`.
    :raises LLMCIError: or OSError, if one of the files that every run has cannot be written. Any other sink that fails is
        a warning.
    """
    report = build_report(folder)
    warnings: list[str] = []
    for text in dict.fromkeys((*DEFAULT_SINKS, *sinks)):
        try:
            open_sink(text, registry, f"--llmci-sink={text}").write(report, folder)
        except Exception as error:  # a sink is foreign code, and must not take the results of a session with it
            if text in DEFAULT_SINKS:
                raise
            warnings.append(f"sink '{text}': {type(error).__name__}: {error}")
    return Finished(report=report, saved=publish_latest(folder), warnings=warnings)
