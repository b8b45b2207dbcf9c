"""What a sink is: a destination that gets the finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..engine.reports.report import SessionReport


class Sink(Protocol):
    """Built as ``Factory(target)`` from ``NAME`` or ``NAME:TARGET``; renders a report and computes nothing.

    A class with ``whole_run = True`` takes the run folder itself: it is called after all others, when ``manifest.json`` is there.
    One with ``live_only = True`` keeps a history of measurements: it gets no replayed run.
    """

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        """Write into the run folder, or to the target.

        :returns: the files written.
        :raises SinkError: if the destination refuses; the session goes on and warns.
        """


class Listener(Protocol):
    """Who wants to know how a slow sink gets on, and where its results are if no file tells."""

    def step(self, text: str) -> None:
        """Something is done that stays done, such as a request that a server has answered."""

    def result(self, text: str) -> None:
        """One line for people."""


class Silent:
    """Does not listen."""

    def step(self, text: str) -> None:
        """Nothing."""

    def result(self, text: str) -> None:
        """Nothing."""


class RemoteSink(Sink, Protocol):
    """One that talks to a server. Only sinks of this package: a session has ``llmci report`` run it, in a process of its own."""

    apart: bool
    """True: it may hang, or import what is large."""
    listener: Listener
    """Whom it tells; set before ``write`` is called."""


def listen(sink: Sink, listener: Listener) -> None:
    """Have a sink tell how it gets on, if it is one that does."""
    if hasattr(sink, "listener"):
        sink.listener = listener
