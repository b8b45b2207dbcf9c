"""One kept connection to an endpoint under an event loop: HTTP and answers are read as the ``openai`` source reads them, with no task and
no queue a request.

Between httpx's asynchronous client and this lies how many requests a second one core can offer, and how late what arrives is seen
meanwhile (docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from ..backends.openai.answer import Answer
from ..backends.openai.exchange import Exchange, NotHTTP, with_body
from ..backends.openai.failures import Failure, Kind, quote
from ..backends.openai.line import CLOSED_S, MOMENT_S
from ..backends.openai.request import Request
from ..backends.openai.stream import AnswerReader
from ..backends.openai.transport import silent
from ..backends.packages import Foreign

_clock = time.perf_counter_ns
KEEP: Final = 1 << 14
"""Bytes of an answer that wait to be read: what reads a long one at once sees late what arrives for the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where requests go."""

    host: str
    port: int
    silence_s: float
    """Without a byte for so long, a request has failed."""


class Connection(asyncio.Protocol):
    """Sends one request at a time."""

    def __init__(self, target: Target, httptools: Foreign) -> None:
        """:param httptools: the module."""
        self._target = target
        self._httptools = httptools
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sent_ns = 0
        self._heard_ns = 0
        self._is_over = False
        """Whether its answer had all been there when that was looked at last, but for the end of HTTP."""
        self._asked = 0
        self.usable = True
        """Whether another request can be sent."""
        self.had_ended = False
        """Whether the last request met the end of a connection that was kept for it."""

    # ------------------------------------------------------------------------------------------------------------ asking

    def ask(self, request: Request, head: bytes) -> asyncio.Future[Answer]:
        """Send a request; its answer holds whatever failure there was.

        :param head: of requests to its URL.
        """
        assert self._transport is not None  # made by the loop, which connects it first
        loop = asyncio.get_running_loop()
        self._reader = AnswerReader(
            chat=request.is_chat, url=request.url, max_tokens=request.max_tokens, key_env=request.key_env, keep=KEEP
        )
        self._waiter = loop.create_future()
        self._exchange = Exchange(self._reader, self._httptools)
        self._sent_ns = self._heard_ns = _clock()
        self._is_over, self._asked = False, self._asked + 1
        self._timer = loop.call_later(min(MOMENT_S, self._target.silence_s), self._look)
        self._transport.write(with_body(head, request.body))
        return self._waiter

    def close(self) -> None:
        """Let go of it."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------------------- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        at = _clock()
        self._heard_ns = at
        exchange = self._exchange
        if exchange is None:  # nothing was asked: the connection is out of step
            self.close()
            return
        try:
            exchange.receive(data, at)
        except NotHTTP as error:
            self._broken(self._failure("server_protocol", f"what answers does not speak HTTP/1.1: {quote(str(error))}"))
            return
        if exchange.is_whole:
            self._whole(exchange, at)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.usable = False
        exchange = self._exchange
        if exchange is None:
            return
        if exc is None and exchange.closed():  # an answer may end with its connection
            self._whole(exchange, _clock())
            return
        was_quick = _clock() - self._sent_ns < CLOSED_S * 1e9
        self.had_ended = self._asked > 1 and was_quick and not exchange.has_begun
        when = "in the middle of its answer" if exchange.has_begun else "before it answered"
        self._broken(self._failure("server_died", f"the server closed the connection {when}"))

    # ------------------------------------------------------------------------------------------------------------ the end

    def _whole(self, exchange: Exchange, at: int) -> None:
        assert self._reader is not None  # an exchange has one
        self._finish(self._reader.end(at))
        if not exchange.can_go_on:
            self.close()

    def _look(self) -> None:
        """Whether the answer is there but for the end of HTTP, or nothing came for too long."""
        assert self._exchange is not None  # else there is no timer
        assert self._reader is not None
        now, was_over = _clock(), self._is_over
        silent_s = (now - self._heard_ns) / 1e9
        left_s = self._target.silence_s - silent_s
        self._is_over = not self._exchange.idle()
        if self._is_over and (was_over or silent_s >= MOMENT_S):
            self._finish(self._reader.end(now))
            self.close()
        elif left_s < 0.001:
            self._broken(silent(self._target.silence_s))
        else:
            self._timer = asyncio.get_running_loop().call_later(min(MOMENT_S, left_s), self._look)

    @staticmethod
    def _failure(kind: Kind, message: str) -> Failure:
        return Failure(kind=kind, message=message)

    def _broken(self, failure: Failure) -> None:
        if self._waiter is not None and self._reader is not None:
            self._finish(self._reader.broken(failure, _clock()))
        self.close()

    def _finish(self, answer: Answer) -> None:
        if self._exchange is not None:
            self._exchange.release()
        waiter, self._waiter, self._reader, self._exchange = self._waiter, None, None, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)
