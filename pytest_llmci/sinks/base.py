"""What a sink is: a destination that gets the finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..engine.report import SessionReport


class Sink(Protocol):
    """Built as ``Factory(target)`` from ``NAME`` or ``NAME:TARGET``; renders a report and computes nothing.

    A class with ``whole_run = True`` takes the run folder itself: it is called after all others, when ``manifest.json`` is there.
    """

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        """Write into the run folder, or to the target.

        :returns: the files written.
        :raises SinkError: if the destination refuses; the session goes on and warns.
        """
