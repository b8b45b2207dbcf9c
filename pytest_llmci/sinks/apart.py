"""A slow sink in a process of its own, with an end to its patience: it cannot hold up or change what a session found.

The process runs ``llmci report RUN --sink ... --progress``, which uploads the same run later, too. It prints a line for each
request that was answered; one that falls silent, or takes too long in all, is killed with whatever it started.
"""

from __future__ import annotations

import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, TypeAlias

from ..secrets import without_credentials
from ..text import one_line, shown_path

STEP: Final = "step: "
"""Begins a line that tells of a request that was answered."""
RESULT: Final = "result: "
"""Begins a line for people."""
ALONE: Final = "LLMCI_SINK_PROCESS"
"""Environment variable that is set in such a process: it does nothing else."""
SILENCE_S: Final = 20.0
"""Without an answered request."""
LIMIT_S: Final = 120.0
"""In all."""
_FAILURE: Final = "llmci: error: "
_START: Final = "import sys; sys.path.append({place!r}); from pytest_llmci.cli.main import main; sys.exit(main())"


_Complain: TypeAlias = Callable[[str], str]


@dataclass(slots=True)
class Sent:
    """What became of it."""

    results: list[str] = field(default_factory=list)
    """Lines for people: where the run is."""
    warning: str = ""
    """Why it is not there, and how it gets there later; empty if it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a process may take."""

    silence_s: float = SILENCE_S
    limit_s: float = LIMIT_S


def send_apart(
    run: Path, sink: str, *, variables: Mapping[str, str] | None = None, patience: Patience | None = None
) -> Sent:
    """Have another process send a run, and wait for it.

    :param run: the run folder, whose log is closed.
    :param sink: ``NAME`` or ``NAME:TARGET``.
    :param variables: added to the environment; the settings of the session stand in the log, and are not inherited.
    """
    place = str(Path(__file__).parents[2])
    command = [sys.executable, "-P", "-c", _START.format(place=place), "report", str(run), "--sink", sink, "--progress"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LLMCI_")}
    more = dict(variables or {})

    def complain(reason: str) -> str:
        return later(run, sink, more, reason)

    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            errors="replace", env={**inherited, "PYTHONIOENCODING": "utf-8", ALONE: "1", **more}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return Sent(warning=complain(f"no process could be started: {error.strerror or error}"))
    printed = _Printed(process)
    try:
        return _watch(process, printed, patience or Patience(), complain)
    except KeyboardInterrupt:  # whoever waits has had enough of this, not of the session's results
        return Sent(warning=complain("interrupted"))
    finally:
        _end(process)
        printed.close()


class _Printed:
    """What a process prints, read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        """Of its output; None at the end."""
        self.errors: list[str] = []
        takers: list[tuple[IO[str] | None, Callable[[str], object]]] = [
            (process.stdout, self.lines.put),
            (process.stderr, self.errors.append),
        ]
        self._streams = [stream for stream, _ in takers if stream is not None]
        self._readers = [
            threading.Thread(target=self._read, args=(stream, take), daemon=True) for stream, take in takers
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], take: Callable[[str], object]) -> None:
        with suppress(ValueError, OSError):  # closed because the process was killed
            for line in stream:
                take(line.rstrip("\n"))
        if take == self.lines.put:
            self.lines.put(None)

    def close(self) -> None:
        """Let go of the pipes; what a process beyond our reach still holds open stays."""
        for reader, stream in zip(self._readers, self._streams, strict=True):
            reader.join(timeout=2)
            if not reader.is_alive():
                stream.close()

    def complaint(self) -> str:
        """The error of the command, or the last line before it died."""
        for reader in self._readers:
            reader.join(timeout=2)
        said = [line for line in self.errors if line.strip()]
        told = [line.removeprefix(_FAILURE) for line in said if line.startswith(_FAILURE)]
        return told[-1] if told else f": {said[-1]}" if said else ""


def _watch(process: subprocess.Popen[str], printed: _Printed, patience: Patience, complain: _Complain) -> Sent:
    """Wait until it ends or the patience does."""
    sent, steps = Sent(), 0
    began = heard = time.monotonic()
    while True:
        until = min(heard + patience.silence_s, began + patience.limit_s)
        try:
            line = printed.lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            over = began + patience.limit_s <= time.monotonic()
            what = f"not done within {patience.limit_s:.0f} s" if over else f"no answer for {patience.silence_s:.0f} s"
            done = "1 step was" if steps == 1 else f"{steps} steps were"
            sent.warning = complain(f"{what} ({done} done before)")
            return sent
        if line is None:
            break
        if line.startswith(STEP):
            heard, steps = time.monotonic(), steps + 1
        elif line.startswith(RESULT):
            sent.results.append(line.removeprefix(RESULT))
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    if process.returncode != 0:
        reason = printed.complaint()
        ended = f"the process ended with status {process.returncode}"
        sent.warning = complain(ended + reason if not reason or reason.startswith(": ") else reason)
    return sent


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of it and of what it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    process.wait()


def later(run: Path, sink: str, variables: Mapping[str, str], reason: str) -> str:
    """One line: what went wrong, that nothing is lost, and the command that sends the run later."""
    shown = without_credentials(sink)
    again = [*(f"{name}={shlex.quote(value)}" for name, value in variables.items())]
    again += ["llmci report", shlex.quote(shown_path(run)), "--sink", shlex.quote(shown)]
    where = f"sink '{shown.partition(':')[0]}': "
    why = one_line(without_credentials(reason)).removeprefix(where).rstrip(".")
    return f"{where}{why}. Nothing is lost; this sends the run later: {' '.join(again)}"
