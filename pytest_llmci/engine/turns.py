"""One request at a time, whichever thread it comes from.

A session has one pool, one log and one conversation with each model's process, so requests of threads, streams and event
loops wait for each other. Whoever has its turn needs nobody else to finish: the rest of a stream is fetched by a thread of
its own, whether or not somebody reads it. So nobody waits in a circle, and no wait is longer than the limits of those before.
"""

from __future__ import annotations

import threading
from collections import deque
from threading import get_ident
from types import TracebackType
from typing import Final, Self

from ..errors import LLMCIError

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
OVER: Final = "the session has ended: no model can be asked any more; wait for your threads before the test ends."
UNWANTED: Final = "nobody waits for the answer any more"
WITHIN: Final = "a model cannot be asked from within its own or another model's answer: ask when that has ended."


class Withdrawn(BaseException):
    """Nobody wants the answer any more. No ``Exception``, so that no model source takes it for a failure of its own."""


class Request:
    """One request, from its place in line to its end: ``with turns.request(): ...``. Used once."""

    __slots__ = ("_turns", "thread", "withdrawn")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.thread = 0
        self.withdrawn = False

    def __enter__(self) -> Self:
        """Wait for one's turn.

        :raises Withdrawn: if nobody wants the answer any more.
        :raises LLMCIError: if the session has ended, or this thread is in the middle of another request.
        """
        self._turns.wait(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self._turns.leave(self)
        if kind is Withdrawn and not self.withdrawn:
            raise LLMCIError(OVER) from None

    def withdraw(self) -> None:
        """Say, in any thread, that nobody wants the answer: a request that waits gives up, one that runs is ended."""
        self._turns.withdraw(self)


class Turns:
    """Who is asking, and who waits to ask, in the order of coming."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._line: deque[Request] = deque()
        self._closed = False

    def request(self) -> Request:
        """A request that has not come yet."""
        return Request(self)

    def wait(self, request: Request) -> None:
        """Get in line and wait; see :meth:`Request.__enter__`."""
        with self._lock:
            if self._line and self._line[0].thread == get_ident():
                raise LLMCIError(WITHIN)
            request.thread = get_ident()
            self._line.append(request)
            try:
                if self._line[0] is not request:
                    self._changed.wait_for(lambda: self._line[0] is request or request.withdrawn or self._closed)
                self._refuse(request)
            except BaseException:  # Ctrl-C, too
                self.leave(request)
                raise

    def _refuse(self, request: Request) -> None:
        if request.withdrawn:
            raise Withdrawn(UNWANTED)
        if self._closed:
            raise LLMCIError(OVER)

    def leave(self, request: Request) -> None:
        """The request has ended, or will not be made."""
        with self._lock:
            if request in self._line:
                self._line.remove(request)
                if self._line or self._closed:  # else nobody waits for it
                    self._changed.notify_all()

    def withdraw(self, request: Request) -> None:
        """See :meth:`Request.withdraw`."""
        with self._changed:
            request.withdrawn = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return self._closed

    def check(self) -> None:
        """To be called all the time by whoever has its turn and waits for a model.

        :raises Withdrawn: if nobody wants the answer any more, or the session ends.
        """
        request = self._line[0] if self._line else None
        if request is not None and (request.withdrawn or self._closed):
            raise Withdrawn(UNWANTED)

    def close(self, patience_s: float) -> None:
        """Let nobody ask any more; have the request that is under way end, and wait for that so long."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if not (self._line and self._line[0].thread == get_ident()):
                self._changed.wait_for(lambda: not self._line, patience_s)
