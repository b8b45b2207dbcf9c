"""A file of whole lines that survives kills, and what every reader and writer of such a file needs of the system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import StoreError

try:
    import fcntl
except ImportError:  # not a POSIX system: a running session cannot be told from a killed one there
    fcntl = None  # type: ignore[assignment]  # checked before use


class Tail(NamedTuple):
    """Where the next line goes; one value, so that an interrupt finds either all of it advanced or nothing."""

    size: int
    lines: int
    digest: str


class LineFile:
    """A file to which whole lines are appended, each given to the operating system at once: a kill loses none."""

    def __init__(self, path: Path, tail: Tail, flags: int) -> None:
        self.path = path
        self.tail = tail
        self._next = tail
        self._settled = True
        """False from the begin of a write until its end is noted."""
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | flags, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened for writing: {reason_of(error)}.") from error

    def write_line(self, line: bytes, after: Tail) -> None:
        """Append one line or nothing.

        :param after: where the file ends then.
        :raises StoreError: if it cannot be written; the file then ends with the line before.
        """
        self._next = after
        self._settled = False
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self.settle()
            kept = self.tail.lines
            raise StoreError(
                f"{self.path}: cannot write line {after.lines}: {reason_of(error)}."
                f" {'The line before it is' if kept == 1 else f'The {kept} lines before it are'} kept."
            ) from error
        self.tail = after
        self._settled = True

    def settle(self) -> None:
        """Make file and memory agree after a write that failed or was interrupted.

        :raises StoreError: if the file cannot be read or cut back.
        """
        if self._fd < 0:
            raise StoreError(f"{self.path}: the file is closed.")
        if self._settled:
            return
        try:
            size = os.fstat(self._fd).st_size
            if size == self._next.size:
                self.tail = self._next  # the interrupt came between writing the line and noting it
            elif size != self.tail.size:
                os.ftruncate(self._fd, self.tail.size)
            self._settled = True
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be cut back to its last whole line: {reason_of(error)}.") from error

    def go_on(self, tail: Tail) -> None:
        """Continue there: what follows in the file is cut off by the next :meth:`settle`."""
        self.tail = self._next = tail
        self._settled = False

    @property
    def is_open(self) -> bool:
        """False once :meth:`release` was called."""
        return self._fd >= 0

    def lock(self) -> bool | None:
        """Keep other writers away until :meth:`release`; see :func:`try_lock`."""
        return try_lock(self._fd, exclusive=True)

    def sync(self) -> None:
        """Hand the file to the disk.

        :raises StoreError: if the disk does not take it.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise StoreError(f"{self.path}: the disk did not take it: {reason_of(error)}.") from error

    def release(self) -> None:
        """Close the file as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def reason_of(error: OSError) -> str:
    """What the system says, in its words."""
    return error.strerror or str(error)


def try_lock(fd: int, *, exclusive: bool) -> bool | None:
    """True if the lock was got, False if another process has it, None where locks do not work."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # file systems without locks, such as some network mounts
        return None
    return True


def open_lines(path: Path) -> BinaryIO:
    """The file, to go through its lines.

    :raises StoreError: if it cannot be read.
    """
    try:
        return path.open("rb", buffering=1 << 18)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {reason_of(error)}.") from error
