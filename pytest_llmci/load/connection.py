"""One kept connection to an endpoint: HTTP/1.1 by h11, answers by the reader of the ``openai`` source, no task and no queue a request.

httpx's asynchronous client takes about 2 ms of CPU for an answer of 16 chunks, this well under 1 ms (docs/benchmarks.md): between
them lies how many requests a second one core can offer, and how late what arrives is seen meanwhile. h11 is what httpx speaks HTTP/1.1
with, so that both understand a server in the same way.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from ..backends.openai.answer import Answer
from ..backends.openai.failures import Failure, Kind, quote
from ..backends.openai.request import Request
from ..backends.openai.stream import AnswerReader

_clock = time.perf_counter_ns
READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where requests go, and what each of them carries."""

    host: str
    port: int
    authority: str
    """As the ``Host`` header says it."""
    headers: tuple[tuple[str, str], ...]
    silence_s: float
    """Without a byte for so long, a request has failed."""


class Connection(asyncio.Protocol):
    """Sends one request at a time."""

    def __init__(self, target: Target, h11: Any) -> None:
        """:param h11: the module, which only load needs."""
        self._target = target
        self._h11: Any = h11
        self._http: Any = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_ns = 0
        self._has_answered = False
        """Whether a byte has come for the present request."""
        self.usable = True
        """Whether another request can be sent."""

    # ------------------------------------------------------------------------------------------------------------ asking

    def ask(self, request: Request, path: str) -> asyncio.Future[Answer]:
        """Send a request; its answer holds whatever failure there was.

        :param path: of its URL, without scheme and host.
        """
        assert self._transport is not None  # made by the loop, which connects it first
        h11, loop = self._h11, asyncio.get_running_loop()
        self._reader = AnswerReader(chat=request.is_chat, url=request.url, max_tokens=request.max_tokens)
        self._waiter = loop.create_future()
        self._has_answered = False
        head = h11.Request(
            method="POST", target=path,
            headers=[("Host", self._target.authority), ("Content-Length", str(len(request.body))), *self._target.headers],
        )  # fmt: skip
        data = (
            self._http.send(head) + self._http.send(h11.Data(data=request.body)) + self._http.send(h11.EndOfMessage())
        )
        self._heard_ns = _clock()
        self._timer = loop.call_later(self._target.silence_s, self._silent)
        self._transport.write(data)
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
        self._has_answered = True
        try:
            self._http.receive_data(data)
            self._events(at)
        except self._h11.RemoteProtocolError as error:
            self._broken(self._failure("server_protocol", f"what answers does not speak HTTP/1.1: {quote(str(error))}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.usable = False
        if self._waiter is None:
            return
        at = _clock()
        try:
            if exc is None:  # an answer may end with its connection
                self._http.receive_data(b"")
                self._events(at)
        except self._h11.RemoteProtocolError:
            pass
        when = "in the middle of its answer" if self._has_answered else "before it answered"
        self._broken(self._failure("server_died", f"the server closed the connection {when}"))

    # -------------------------------------------------------------------------------------------------------------- events

    def _events(self, at: int) -> None:
        h11, http = self._h11, self._http
        while self._waiter is not None:
            event = http.next_event()
            kind = type(event)
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            assert self._reader is not None  # a waiter has one
            if kind is h11.Data:
                self._reader.feed(bytes(event.data), at)
            elif kind is h11.Response:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                self._reader.head(event.status_code, headers)
            elif kind is h11.EndOfMessage:
                self._finish(self._reader.end(at))
                if http.our_state is h11.DONE and http.their_state is h11.DONE:
                    http.start_next_cycle()
                else:
                    self.close()
                return
            elif kind is h11.ConnectionClosed:
                return

    def _silent(self) -> None:
        """The timer is over; what has come meanwhile starts it anew."""
        left_s = self._target.silence_s - (_clock() - self._heard_ns) / 1e9
        if left_s > 0.001:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._silent)
            return
        seconds = f"{self._target.silence_s:g}"
        self._broken(
            self._failure("server_silent", f"the server sent nothing for {seconds} s (+timeout= sets how long to wait)")
        )

    @staticmethod
    def _failure(kind: Kind, message: str) -> Failure:
        return Failure(kind=kind, message=message)

    def _broken(self, failure: Failure) -> None:
        if self._waiter is not None and self._reader is not None:
            self._finish(self._reader.broken(failure, _clock()))
        self.close()

    def _finish(self, answer: Answer) -> None:
        waiter, self._waiter, self._reader = self._waiter, None, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)
