"""Peak memory where the kernel's high-water mark cannot be reset: a small process that looks once a millisecond.

It is a process and never a thread: a thread sees nothing while the measured code holds the interpreter lock. This
file is both ends: imported, it gives :class:`Sampler`; run as a program (``python -I -S sampler.py``), it is the
process that looks. It inherits the measured process's open ``/proc/self/statm``, so it needs no permission and cannot
look at another one.

A spike shorter than the interval may be missed altogether; readings are marked ``sampler`` for that.
"""

from __future__ import annotations

import contextlib
import os
import sys

INTERVAL_MS = 1  # shorter spikes may be missed; the looking costs about 1 % of a core
ANSWER_TIMEOUT_S = 5.0  # a healthy answer takes 0.1 ms, on a starved machine some 100 ms
START_TIMEOUT_S = 30.0  # a bare interpreter starts in 0.02 s
PARENT_CHECK_MS = 1000  # how long an idle sampler may outlive a parent whose pipe a third process holds open
GO_ON, PAUSE = b"+", b"-"
STATM_FD = 3
"""Where the process that looks finds the open file of the process that it looks at."""


class Sampler:
    """The process that looks, seen from the process that it looks at."""

    def __init__(self, statm_fd: int) -> None:
        """Start it and wait until it answers.

        :param statm_fd: open ``/proc/self/statm`` of this process.
        :raises OSError: if it cannot be started or does not answer.
        """
        self._owner = os.getpid()
        command_read, self._commands = os.pipe()
        self._answers, answer_write = os.pipe()
        try:
            self._pid = _spawn(command_read, answer_write, statm_fd)
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(command_read)
            os.close(answer_write)
        try:
            self._ask(PAUSE, START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the process that looks."""
        return self._pid

    def mark(self, *, go_on: bool) -> int:
        """End a segment and begin the next one.

        :param go_on: whether to go on looking; else it sleeps until the next call.
        :returns: bytes, the highest resident memory seen since the call before.
        :raises OSError: if the process that looks is gone.
        """
        return self._ask(GO_ON if go_on else PAUSE, ANSWER_TIMEOUT_S)

    def close(self) -> None:
        """End it. In a forked child, which does not own it, only let go of its pipes."""
        self._close_pipes()
        pid, self._pid = self._pid, 0
        if pid and self._owner == os.getpid():
            with contextlib.suppress(OSError):  # somebody else's wait() may have reaped it
                _reap(pid)

    def _close_pipes(self) -> None:
        for name in ("_commands", "_answers"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _ask(self, command: bytes, timeout_s: float) -> int:
        import select

        if self._commands < 0:
            raise BrokenPipeError("the memory sampler has ended")
        os.write(self._commands, command)
        poller = select.poll()
        poller.register(self._answers, select.POLLIN)
        answer = b""
        try:
            while not answer.endswith(b"\n"):
                if not poller.poll(timeout_s * 1000):
                    raise TimeoutError(f"the memory sampler did not answer within {timeout_s:.0f} s")
                piece = os.read(self._answers, 64)
                if not piece:
                    raise BrokenPipeError("the memory sampler has ended")
                answer += piece
        except BaseException:  # also Ctrl-C: the next question would get this one's answer
            self._close_pipes()
            raise
        return int(answer)


def _spawn(command_read: int, answer_write: int, statm_fd: int) -> int:
    # posix_spawn, not subprocess: no import, no object that warns when the interpreter ends, no fork of a big process.
    if not sys.executable:
        raise OSError("the Python interpreter does not know its own path")
    # Above the numbers that dup2 fills, so that none is overwritten before it is copied.
    import fcntl

    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STATM_FD + 1) for fd in (command_read, answer_write, statm_fd)]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in zip((0, 1, STATM_FD), high, strict=True)]
        null = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
        argv = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
        return os.posix_spawn(sys.executable, argv, os.environ, file_actions=[*actions, null])
    finally:
        for fd in high:
            os.close(fd)


def _reap(pid: int) -> None:
    """Its pipe is closed, so it ends by itself; a stopped one is killed."""
    import signal
    import time

    for _ in range(200):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# ------------------------------------------------------------------------------------------- the process that looks


def look() -> None:
    """Look at the memory of the process behind :data:`STATM_FD` until it is gone or closes the pipe."""
    import select
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that is measured
    os.chdir("/")
    if hasattr(os, "sched_setaffinity"):  # a pinned process's only core is where it must not look from
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
    page = os.sysconf("SC_PAGE_SIZE")
    parent = os.getppid()
    poller = select.poll()
    poller.register(0, select.POLLIN)
    looking, peak = False, 0
    while True:
        if poller.poll(INTERVAL_MS if looking else PARENT_CHECK_MS):
            command = os.read(0, 1)
            if not command:
                return
            now = _resident(page)
            os.write(1, b"%d\n" % max(peak, now))
            looking, peak = command == GO_ON, now
        elif os.getppid() != parent:
            return
        if looking:
            peak = max(peak, _resident(page))


def _resident(page: int) -> int:
    return int(os.pread(STATM_FD, 128, 0).split(None, 2)[1]) * page


if __name__ == "__main__":
    with contextlib.suppress(OSError, IndexError):  # the process that it looked at is gone
        look()
