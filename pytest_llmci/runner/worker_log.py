"""What a model's process writes to stdout and stderr, on its way to a file.

The process gets a pipe and not the file: libraries print addresses, headers and tracebacks, and what is secret in them must
never be on the disk. No thread reads it, as pytest's process may fork: whoever waits for the process takes its lines meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]  # it has no such constant

TAIL_BYTES: Final = 8192
"""Of the end that is kept in memory, for the last words of a process."""
LONGEST_LINE: Final = 65536
"""Bytes; a longer line is written in pieces, and a secret that is cut in two may then be missed."""
PIPE_BYTES: Final = 1 << 20
"""What a process may write while nobody waits for it, where the system allows as much."""
_CHUNK_BYTES: Final = 65536
_LINE_END: Final = re.compile(rb"(?<=[\r\n])")


class WorkerLog:
    """A pipe whose one end a process gets; what comes out of the other is appended to a file, line by line.

    :param path: of the file; None to keep nothing but the last lines in memory.
    :param hide: makes of a line what may be written.
    :raises OSError: if the file or the pipe cannot be opened.
    """

    def __init__(self, path: Path | None, hide: Callable[[str], str]) -> None:
        self._hide = hide
        self._pending = b""
        self._tail = b""
        self._file = -1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            self._from, self.write_end = os.pipe()
        except OSError:
            self._close_file()
            raise
        os.set_blocking(self._from, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # more than this user may have
                fcntl.fcntl(self._from, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def handed_over(self) -> None:
        """The process has its end, or there will be none: only its death closes the pipe from now on."""
        os.close(self.write_end)

    @property
    def readable(self) -> list[int]:
        """What to wait for; empty once the pipe is closed."""
        return [self._from] if self._from >= 0 else []

    def take(self) -> bool:
        """Take what has come, without waiting.

        :returns: whether there may be more.
        """
        if self._from < 0:
            return False
        try:
            chunk = os.read(self._from, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self.close()
            return False
        *lines, self._pending = _LINE_END.split(self._pending + chunk)
        if len(self._pending) > LONGEST_LINE:
            lines, self._pending = [*lines, self._pending], b""
        self._write(b"".join(lines))
        return True

    def drain(self) -> None:
        """Take everything that has come; of a process that is dead, everything that it wrote."""
        while self.take():
            pass

    def close(self) -> None:
        """Take no more; an unfinished last line is kept. Safe to call twice."""
        if self._from >= 0:
            os.close(self._from)
            self._from = -1
        pending, self._pending = self._pending, b""
        self._write(pending)
        self._close_file()

    @property
    def tail(self) -> str:
        """The last lines, as they were written."""
        return self._tail.decode("utf-8", "replace")

    def _write(self, content: bytes) -> None:
        if not content:
            return
        shown = self._hide(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        self._tail = (self._tail + shown)[-TAIL_BYTES:]
        with contextlib.suppress(OSError):  # a full disk is told of where results are written
            while self._file >= 0 and shown:
                shown = shown[os.write(self._file, shown) :]

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
