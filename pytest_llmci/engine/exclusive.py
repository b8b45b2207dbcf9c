"""One machine, one measurement: a lock of all sessions of a machine.

Who times something holds it alone. Who loads a model, or asks it without timing (scores, answers for checks, a test's own requests),
holds it together with all others who do so: such work runs in parallel, and never beside what is timed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..clock import Clock

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is ever held there
    fcntl = None  # type: ignore[assignment]  # checked before use

_POLL_S = 0.02
ALONE: Final = "waiting for the machine"
TOGETHER: Final = "waiting for timed work"
_PATIENCE_NS = 1_000_000_000
_MARK_BYTES: Final = 32
_TURN_NS = 200_000_000
"""So long a process may take the lock again before those who wait: handing it over costs a poll, which short work would feel."""


def lock_path() -> Path:
    """Where the lock lives; one for all users of the machine.

    ``LLMCI_LOCK_FILE`` names another place, as for containers that share a machine but no folder for temporary files.
    """
    given = os.environ.get("LLMCI_LOCK_FILE")
    return Path(given) if given else Path(tempfile.gettempdir()) / "llmci-timing.lock"


@dataclass(frozen=True, slots=True)
class _Files:
    """Descriptors of two files. They are the kernel's locks, so a process that dies holds neither."""

    timing: int
    """Held by whoever times something, or by all together who do not."""
    next: int
    """Held by the one that gets ``timing`` alone next. All others wait for this one, so that nobody who lets go overtakes it, and
    those who need not be alone do not keep it waiting by following each other."""


class MachineLock:
    """Held around work, in turns. Where files cannot be locked it is never held, and :attr:`fault` says why.

    Used by one thread at a time.
    """

    def __init__(self, path: Path, clock: Clock, session: str = "") -> None:
        """:param session: what the processes of one session have in common; a wait for one of them is not worth a word, as the
        session does go on. Empty where it has this process alone.
        """
        self._path = path
        self._clock = clock
        self._mark = session.encode()[:_MARK_BYTES].ljust(_MARK_BYTES)
        self._knows_others = bool(session)
        self._files: _Files | None = None
        self._owner = 0
        self._depth = 0
        self._alone = False
        self._turn_began_ns: int | None = None

    @property
    def works(self) -> bool:
        """False where this system cannot lock files, or the lock file cannot be opened."""
        return not self.fault

    @property
    def fault(self) -> str:
        """Why it can never be held; empty where it can."""
        if fcntl is None:
            return "this system cannot lock files"
        try:
            self._open()
        except OSError as error:
            return f"the lock file {self._path} cannot be used: {error.strerror}; name another with LLMCI_LOCK_FILE"
        return ""

    @contextmanager
    def held(self, tick: Callable[[], None], say: Callable[[str], None], *, alone: bool = True) -> Iterator[bool]:
        """Wait for the lock, and hold it; yields whether it is held.

        :param alone: False: others may hold it, too, who say the same. Within itself the stricter holds, until the outermost ends.
        :param tick: called all the time while waiting.
        :param say: told once, after a second of waiting for other sessions, what is being waited for.
        """
        if not self.works:
            yield False
            return
        if not self.take(alone=alone):
            self._acquire(self._open(), tick, say, alone=alone)
            self._alone = alone
            self._depth += 1
        try:
            yield True
        finally:
            self.give_back()

    def take(self, *, alone: bool = True) -> bool:
        """Hold the lock if that needs no wait, as within one's turn; whether it is held, until :meth:`give_back`.

        :param alone: see :meth:`held`.
        """
        if self._depth == 0 or (alone and not self._alone):
            began = self._turn_began_ns
            is_same_turn = began is not None and self._clock.now_ns() - began < _TURN_NS
            if not is_same_turn or not self.works or self._files is None:
                return False
            if not _try_lock(self._files.timing, alone=alone):
                return False
            self._alone = alone
        self._depth += 1
        return True

    def give_back(self) -> None:
        """Let go of what :meth:`take` got."""
        self._depth -= 1
        if self._depth == 0 and self._files is not None:
            _unlock(self._files.timing)

    def _acquire(
        self, files: _Files, tick: Callable[[], None], say: Callable[[str], None], *, alone: bool
    ) -> None:  # fmt: skip
        def is_own() -> bool:
            """Whether the last to get the lock was a process of this session."""
            return self._knows_others and os.pread(files.timing, _MARK_BYTES, 0) == self._mark

        wait = _Wait(self._clock, tick, say, ALONE if alone else TOGETHER, is_own)
        wait.until_locked(files.next, alone=alone)
        try:
            wait.until_locked(files.timing, alone=alone)
        finally:
            _unlock(files.next)
        with suppress(OSError):  # as on a full disk: then a wait is told that need not be, or is not told
            os.pwrite(files.timing, self._mark, 0)
        self._turn_began_ns = self._clock.now_ns()

    def _open(self) -> _Files:
        """The files, opened by this process: a lock belongs to whoever opened its file, and a fork would share it."""
        if self._files is None or self._owner != os.getpid():
            timing = _open_file(self._path)
            try:
                self._files = _Files(timing, _open_file(self._path.with_name(self._path.name + ".next")))
            except OSError:
                os.close(timing)
                raise
            self._owner = os.getpid()
        return self._files

    def close(self) -> None:
        """Let go of the files."""
        if self._files is not None and self._owner == os.getpid():
            os.close(self._files.timing)
            os.close(self._files.next)
        self._files = None


class _Wait:
    """One wait, for whatever it takes."""

    def __init__(
        self, clock: Clock, tick: Callable[[], None], say: Callable[[str], None], words: str, is_own: Callable[[], bool]
    ) -> None:
        self._clock = clock
        self._tick = tick
        self._say = say
        self._words = words
        self._is_own = is_own
        self._began_ns = clock.now_ns()
        self._said = False

    def until_locked(self, fd: int, *, alone: bool) -> None:
        while not _try_lock(fd, alone=alone):
            self._tick()
            if not self._said and self._is_own():
                self._began_ns = self._clock.now_ns()
            if not self._said and self._clock.now_ns() - self._began_ns > _PATIENCE_NS:
                self._said = True
                self._say(self._words)
            self._clock.sleep(_POLL_S)


def _open_file(path: Path) -> int:
    """Open a file that all users of the machine may lock.

    Made only where it is missing: in a shared folder such as ``/tmp`` Linux lets nobody create what another user's file is in
    the way of (``fs.protected_regular``), but everybody open that file.

    :raises OSError: if it cannot be opened or made.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        before = os.umask(0)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        finally:
            os.umask(before)


def _try_lock(fd: int, *, alone: bool) -> bool:
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)
