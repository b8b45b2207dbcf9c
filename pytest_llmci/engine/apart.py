"""What keeps the timed work of a session and all other work of the machine apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from .exclusive import MachineLock
from .judge import CONTENDED
from .observer import Observer

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


class _InTurn:
    """Holds what was taken: nothing else runs meanwhile."""

    __slots__ = ("_lock",)

    def __init__(self, lock: MachineLock) -> None:
        self._lock = lock

    def __enter__(self) -> bool:
        return False

    def __exit__(self, *raised: object) -> None:
        self._lock.give_back()


class Apart:
    """Around each request to a model."""

    def __init__(
        self, lock: MachineLock, observer: Observer, tick: Callable[[], None], *, together: bool, is_parallel: bool
    ) -> None:
        """:param tick: called all the time while waiting.
        :param together: whether nothing is kept apart (``--llmci-timing=parallel``).
        :param is_parallel: whether other processes of the session may time something.
        """
        self._lock = lock
        self._observer = observer
        self._tick = tick
        self._together = together
        self._is_parallel = is_parallel

    def alone(self) -> AbstractContextManager[bool]:
        """Keep all other work on this machine away; yields whether some may run all the same.

        The wait is charged to no test: how long it takes is the doing of others.
        """
        if not self._together and self._lock.take():  # in one's turn, without a wait
            return _InTurn(self._lock)
        return self._alone_in_time()

    @contextmanager
    def _alone_in_time(self) -> Iterator[bool]:
        """After the wait that it takes."""
        if self._together:
            yield self._is_parallel
            return
        with ExitStack() as until_measured:
            with self._observer.uncharged():
                held = until_measured.enter_context(self._lock.held(self._tick, self._observer.say))
            yield self._is_parallel and not held

    @contextmanager
    def aside(self) -> Iterator[bool]:
        """For work that is not timed: beside other such work, never beside what is timed. Yields False: it has no time to spoil."""
        if self._together:
            yield False
            return
        with ExitStack() as until_answered:
            with self._observer.uncharged():
                until_answered.enter_context(self._lock.held(self._tick, self._observer.say, alone=False))
            yield False

    def why_contended(self) -> str:
        """What is said of a block beside which other work may have run."""
        if self._together:
            return CONTENDED
        return f"other timed work may have run at the same time: {self._lock.fault}"

    def close(self) -> None:
        """Let go of the lock for good."""
        self._lock.close()
