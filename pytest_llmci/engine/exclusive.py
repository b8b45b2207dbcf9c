"""One machine, one measurement: a lock that all sessions of a machine share while they time something."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..clock import Clock

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is ever held there
    fcntl = None  # type: ignore[assignment]  # checked before use

_POLL_S = 0.02
_PATIENCE_NS = 1_000_000_000


def lock_path() -> Path:
    """Where the lock lives; one for all users of the machine.

    ``LLMCI_LOCK_FILE`` names another place, as for containers that share a machine but no folder for temporary files.
    """
    given = os.environ.get("LLMCI_LOCK_FILE")
    return Path(given) if given else Path(tempfile.gettempdir()) / "llmci-timing.lock"


class MachineLock:
    """Held around timed work. Where files cannot be locked it is never held, and :attr:`works` says so."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._fd: int | None = None
        self._owner = 0
        self._depth = 0

    @property
    def works(self) -> bool:
        """False where this system cannot lock files, or the lock file cannot be opened."""
        return self._open() is not None

    @contextmanager
    def held(self, tick: Callable[[], None], say: Callable[[str], None]) -> Iterator[bool]:
        """Wait for the lock, and hold it; yields whether it is held.

        :param tick: called all the time while waiting.
        :param say: told once, after a second, what is being waited for.
        """
        fd = self._open()
        if fd is None:
            yield False
            return
        if self._depth == 0:
            self._acquire(fd, tick, say)
        self._depth += 1
        try:
            yield True
        finally:
            self._depth -= 1
            if self._depth == 0:
                _unlock(fd)

    def _acquire(self, fd: int, tick: Callable[[], None], say: Callable[[str], None]) -> None:
        began, said = self._clock.now_ns(), False
        while not _try_lock(fd):
            tick()
            if not said and self._clock.now_ns() - began > _PATIENCE_NS:
                said = True
                say("waiting for another session on this machine to finish timing")
            self._clock.sleep(_POLL_S)

    def _open(self) -> int | None:
        if self._fd is not None and self._owner == os.getpid():
            return self._fd
        if fcntl is None:
            return None
        try:
            before = os.umask(0)
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            finally:
                os.umask(before)
        except OSError:
            return None
        self._owner = os.getpid()
        return self._fd

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None and self._owner == os.getpid():
            os.close(self._fd)
        self._fd = None


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)
