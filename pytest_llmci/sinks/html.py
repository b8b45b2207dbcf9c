"""``html``: the run as one page that needs nothing else, for people; no network, no server."""

from __future__ import annotations

from pathlib import Path

from ..engine.reports.report import SessionReport
from ..html_report.page import check_installed
from ..plots import register as register_plots
from ..registry import Registry
from .files import target_file, written

FILE_NAME = "report.html"


class HtmlSink:
    """Writes the file anew.

    :param target: the file; empty for ``report.html`` in the run folder.
    :raises MissingExtraError: if Jinja is not installed.
    """

    def __init__(self, target: str = "") -> None:
        check_installed("sink 'html'")
        self._target = target
        self.registry = Registry()
        """Of the session: its plots are drawn."""
        register_plots(self.registry)

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        """:raises SinkError: if the file cannot be written."""
        from ..html_report.figures import run_figures
        from ..html_report.page import write_page

        path = target_file(self._target, folder, FILE_NAME)
        figures = run_figures(report, self.registry)
        with written(path) as stream:
            write_page(stream, report, figures)
        return [path]
