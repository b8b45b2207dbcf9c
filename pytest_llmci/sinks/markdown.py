"""``markdown``: the run as a comment on a pull request, or a page of CI, no longer than GitHub takes."""

from __future__ import annotations

from pathlib import Path

from ..engine.reports.report import SessionReport
from ..engine.reports.run_markdown import run_markdown
from .files import target_file, written

FILE_NAME = "summary.md"


class MarkdownSink:
    """Writes the file anew.

    :param target: the file; empty for ``summary.md`` in the run folder.
    """

    def __init__(self, target: str = "") -> None:
        self._target = target

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        """:raises SinkError: if the file cannot be written."""
        path = target_file(self._target, folder, FILE_NAME)
        with written(path) as stream:
            stream.write(run_markdown(report))
        return [path]
