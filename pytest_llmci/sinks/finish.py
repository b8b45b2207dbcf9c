"""The end of a session: from a closed log to everything that derives from it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..engine.reports.report import SessionReport
from ..engine.reports.report_builder import build_report
from ..errors import FOREIGN_ERRORS, LLMCIError, described
from ..garbage import collector_paused
from ..registry import Registry
from ..secrets import without_credentials
from ..store.manifest import seal, signing_key
from ..store.runfolder import publish_latest
from . import DEFAULT_SINKS, open_sink, wants_whole_run

MANY_CELLS: Final = 2000
"""From so many on the report of a session is kept out of the garbage collector's sight."""


@dataclass(slots=True)
class Finished:
    """What became of a run."""

    report: SessionReport
    saved: Path
    """The folder that people are pointed to: the copy in ``latest``."""
    warnings: list[str] = field(default_factory=list)
    """One line for each further sink that failed."""
    further: list[Path] = field(default_factory=list)
    """What further sinks wrote."""
    apart: list[str] = field(default_factory=list)
    """Sinks that have a process of their own, which is for the caller to start once all else is written."""
    sent: list[str] = field(default_factory=list)
    """One line for each of these: where the run is."""


def finish_run(
    folder: Path,
    registry: Registry,
    sinks: Sequence[str],
    *,
    read: Callable[[Path], SessionReport] = build_report,
    hide: Callable[[str], str] = without_credentials,
) -> Finished:
    """Give the report of a run to every sink, seal the folder with its manifest, and publish it as ``latest``.

    Sinks that take the whole run come last, when the manifest is there.

    :param sinks: ``NAME`` or ``NAME:TARGET``, beyond :data:`~pytest_llmci.sinks.DEFAULT_SINKS`.
    :param read: makes the report of the folder, where its log need not be read to know what it says.
    :param hide: takes secrets out of a warning.
    :raises LLMCIError: or OSError, if one of the files that every run has cannot be written. Any other sink that fails is
        a warning.
    """
    with collector_paused():
        report = read(folder)
        for text in DEFAULT_SINKS:
            open_sink(text, registry, f"--llmci-sink={text}").write(report, folder)
        if len(report.cells) >= MANY_CELLS:
            gc.freeze()  # the report lives until the process ends, which pytest does not let happen without collecting
    warnings: list[str] = []
    further: list[Path] = []
    asked = [text for text in dict.fromkeys(sinks) if text not in DEFAULT_SINKS]
    last = [text for text in asked if wants_whole_run(text, registry)]
    apart: list[str] = []

    def write_to(text: str) -> None:
        try:
            sink = open_sink(text, registry, f"--llmci-sink={text}")
            if report.replayed_run and getattr(sink, "live_only", False):
                warnings.append(
                    f"sink '{text}' was left out: it keeps measurements, and these are those of run {report.replayed_run}"
                )
                return
            if getattr(sink, "apart", False):
                apart.append(text)
                return
            further.extend(map(Path, sink.write(report, folder)))
        except FOREIGN_ERRORS as error:  # a sink must not take the results of a session with it
            reason = str(error) if isinstance(error, LLMCIError) else described(error)
            warnings.append(hide(f"sink '{text}': {reason}"))

    for text in (text for text in asked if text not in last):
        write_to(text)
    seal(
        folder, run=report.header.run_id, log_lines=report.lines, log_digest=report.digest, key=signing_key(os.environ)
    )
    for text in last:
        write_to(text)
    try:
        saved = publish_latest(folder)
    except (LLMCIError, OSError) as error:  # the run folder is whole; only the convenience is missing
        saved = folder
        warnings.append(f"'latest' was not renewed: {' '.join(str(error).split())[:400]}")
    return Finished(report=report, saved=saved, warnings=warnings, further=further, apart=apart)
