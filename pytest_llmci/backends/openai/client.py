"""Asks an endpoint and waits: one connection that is kept, one request at a time, each read by :class:`.stream.AnswerReader`.

Redirects are not followed, so that a key goes nowhere but to the address that the user gave. Proxies of the environment are
used, but not for this machine itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ...secrets import Secrets
from ..packages import Foreign, require
from .answer import Answer
from .endpoint import CONNECT_TIMEOUT_S, Endpoint
from .exchange import Exchange, NotHTTP, head_of, unpacked, with_body, written
from .failures import Failure, of_status
from .line import EXTRA, Disconnected, Line, Unreachable
from .request import Request
from .stream import MOST_KEPT, AnswerReader, OnPiece
from .transport import of_exception

PACKAGES: Final = ("httptools", "certifi")
"""What the extra brings."""
_MOST_BYTES: Final = 1 << 24
"""Of a small document."""
_BROKEN: Final = (Unreachable, Disconnected, NotHTTP, OSError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A small document that was asked for."""

    status: int
    document: object
    """What its JSON says; None where it is none."""
    server: str
    """Its ``Server`` header."""


class Client:
    """One server, asked from one thread.

    :raises MissingExtraError: if httptools is not installed.
    :raises ModelLoadError: if the environment names a proxy or certificates that cannot be.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._httptools: Foreign = require("httptools", f"model '{endpoint.base_url}'", EXTRA)
        self._line = Line(endpoint, connect_s=min(CONNECT_TIMEOUT_S, endpoint.timeout_s))
        self._headers = endpoint.headers() | self._line.headers
        self._heads: dict[str, bytes] = {}
        """URL -> the head of requests to it."""
        proxy = endpoint.proxy_name()
        self._server = f"{endpoint.server} (through the proxy of {proxy})" if proxy else endpoint.server
        self._secrets = Secrets()
        if endpoint.key:
            self._secrets.learn(endpoint.key, endpoint.key_env, certain=True)
        self.last_was_chat = False
        """Whether the last request went through the server's chat template."""

    @property
    def connections(self) -> int:
        """Connections that have been opened so far."""
        return self._line.opened

    def ask(self, request: Request, on_piece: OnPiece | None = None, *, live: bool = False) -> Answer:
        """Send a request and read its answer to the end; a failure is in the answer, never raised.

        :param on_piece: called for each piece of text with the time at which it arrived; some time later, unless that is ``live``.
        """
        reader = AnswerReader(
            chat=request.is_chat, url=request.url, max_tokens=request.max_tokens, key_env=request.key_env, on_piece=on_piece,
            keep=0 if live else MOST_KEPT,
        )  # fmt: skip
        self.last_was_chat = request.is_chat
        exchange, silence_s = Exchange(reader, self._httptools), self._endpoint.timeout_s
        try:
            answer = reader.end(self._line.ask(self._bytes(request), exchange, silence_s=silence_s))
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer says whose failure it was
            at = time.perf_counter_ns()
            failure = of_exception(error, server=self._server, timeout_s=silence_s, has_answered=exchange.has_head)
            answer = reader.broken(failure, at)
        return answer if answer.failure is None else replace(answer, failure=self._without_key(answer.failure))

    def _without_key(self, failure: Failure) -> Failure:
        """Some servers repeat a key that they refuse."""
        return replace(failure, message=self._secrets.hide(failure.message))

    def _bytes(self, request: Request) -> bytes:
        head = self._heads.get(request.url)
        if head is None:
            head = head_of("POST", request.url, self._headers, through_proxy=self._line.asks_proxy)
            self._heads[request.url] = head
        return with_body(head, request.body)

    def look_up(self, path: str) -> Reply | None:
        """Ask for a small document; None where nothing came of it.

        :param path: behind the base of the API, or from the root of the server where it begins with ``//``.
        """
        try:
            got = self._get(self._url(path))
        except _BROKEN:
            return None
        try:
            document: object = json.loads(got.body)
        except (ValueError, RecursionError):
            document = None
        return Reply(status=got.status, document=document, server=got.headers.get("server", ""))

    def why_no_document(self, path: str) -> Failure | None:
        """Ask again, and say what comes between; None where a document came, whatever it is.

        :param path: as for :meth:`look_up`.
        """
        url = self._url(path)
        try:
            got = self._get(url)
        except _BROKEN as error:
            timeout_s = min(CONNECT_TIMEOUT_S, self._endpoint.timeout_s)
            return of_exception(error, server=self._server, timeout_s=timeout_s, has_answered=False)
        if got.status < 300:
            return None
        return self._without_key(of_status(got.status, got.headers, got.body, url, self._endpoint.key_env))

    def _url(self, path: str) -> str:
        return self._endpoint.server + path[1:] if path.startswith("//") else self._endpoint.base_url + path

    def _get(self, url: str) -> _Document:
        found = _Document()
        sent = written("GET", url, self._headers, through_proxy=self._line.asks_proxy)
        self._line.ask(sent, Exchange(found, self._httptools), silence_s=CONNECT_TIMEOUT_S)
        return found

    def close(self) -> None:
        """Close the connection."""
        self._line.close()


class _Document:
    """Takes an answer as it is."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._parts = bytearray()

    @property
    def body(self) -> bytes:
        return unpacked(bytes(self._parts), self.headers.get("content-encoding", ""))

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers

    def feed(self, data: bytes, at_ns: int) -> None:
        del at_ns
        self._parts += data
        if len(self._parts) > _MOST_BYTES:
            raise NotHTTP(f"a document of more than {_MOST_BYTES >> 20} MiB")

    def idle(self) -> bool:
        return True
