"""``plots``: every registered figure of the run, as PNG and SVG in ``plots/`` of its folder, or in another one.

A figure that has nothing to show is written as a note that says why; one that cannot be made as well, and a warning names it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..engine.reports.report import SessionReport
from ..errors import FOREIGN_ERRORS, SinkError, described
from ..plots import plots_of
from ..plots import register as register_plots
from ..plots.base import Note, Plot, check_installed, save
from ..plots.run_data import RunData
from ..registry import Registry

FOLDER: Final = "plots"


class PlotsSink:
    """Draws and writes.

    :param target: the folder to write to; empty for ``plots`` in the run folder.
    :raises MissingExtraError: if matplotlib is not installed.
    """

    def __init__(self, target: str = "") -> None:
        check_installed("sink 'plots'")
        self._target = target
        self.registry = Registry()
        """Of the session: what is drawn stands in it."""
        register_plots(self.registry)

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        """:raises SinkError: also where a figure could not be made; all others are then written, and a note in its place."""
        place = Path(os.path.expanduser(self._target)) if self._target else folder / FOLDER
        files: list[Path] = []
        failed: list[str] = []
        for name, plot in plots_of(RunData(report), self.registry):
            written, why = _save(name, plot, place)
            files += written
            failed += [f"{name} {why}"] if why else []
        if failed:
            raise SinkError(f"{place}: {'; '.join(failed)}. The other figures are written.")
        return files


def _save(name: str, plot: Plot, place: Path) -> tuple[list[Path], str]:
    """The files, and why they are but a note."""
    if isinstance(plot, Note):
        return save(plot, place, stem=name), plot.text
    try:
        return save(plot, place, stem=name), ""
    except SinkError:
        raise
    except FOREIGN_ERRORS as error:
        note = Note(name=name, text=f"could not be drawn: {described(error)}")
        return save(note, place, stem=name), note.text
