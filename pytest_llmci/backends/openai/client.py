"""Asks an endpoint and waits: one connection that is kept, one request at a time, each read by :class:`.stream.AnswerReader`.

Redirects are not followed, so that a key goes nowhere but to the address that the user gave. Proxies of the environment are
used, but not for this machine itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..packages import Foreign, require
from .answer import Answer
from .endpoint import CONNECT_TIMEOUT_S, Endpoint
from .failures import Failure, of_status
from .request import Request
from .stream import AnswerReader
from .transport import of_exception

EXTRA: Final = "pytest-llmci[openai]"


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

    :raises MissingExtraError: if httpx is not installed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._httpx: Foreign = require("httpx", f"model '{endpoint.base_url}'", EXTRA)
        self._http: Any = self._httpx.Client(
            headers=endpoint.headers(),
            timeout=self._httpx.Timeout(endpoint.timeout_s, connect=min(CONNECT_TIMEOUT_S, endpoint.timeout_s)),
            follow_redirects=False,
            trust_env=not endpoint.is_loopback,
        )
        proxy = endpoint.proxy_name()
        self._server = f"{endpoint.server} (through the proxy of {proxy})" if proxy else endpoint.server
        self._last_peer: object = None
        self.connections = 0
        """Connections that have been opened so far."""
        self.last_was_chat = False
        """Whether the last request went through the server's chat template."""

    def ask(self, request: Request, on_piece: Callable[[str], None] | None = None) -> Answer:
        """Send a request and read its answer to the end; a failure is in the answer, never raised."""
        reader = AnswerReader(chat=request.is_chat, url=request.url, max_tokens=request.max_tokens, on_piece=on_piece)
        clock, has_answered = time.perf_counter_ns, False
        self.last_was_chat = request.is_chat
        try:
            sent = self._http.build_request("POST", request.url, content=request.body)
            response = self._http.send(sent, stream=True)
            try:
                has_answered = True
                self._note_connection(response)
                reader.head(response.status_code, response.headers)
                for data in response.iter_raw():
                    reader.feed(data, clock())
                return reader.end(clock())
            finally:
                response.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer says whose failure it was
            failure = of_exception(
                error, self._httpx, server=self._server, timeout_s=self._endpoint.timeout_s, has_answered=has_answered
            )  # fmt: skip
            return reader.broken(failure, clock())

    def look_up(self, path: str) -> Reply | None:
        """Ask for a small document; None where nothing came of it.

        :param path: behind the base of the API, or from the root of the server where it begins with ``//``.
        """
        try:
            response = self._get(path)
        except (self._httpx.HTTPError, self._httpx.InvalidURL):
            return None
        try:
            document: object = response.json()
        except ValueError:
            document = None
        return Reply(status=response.status_code, document=document, server=response.headers.get("server", ""))

    def why_no_document(self, path: str) -> Failure | None:
        """Ask again, and say what comes between; None where a document came, whatever it is.

        :param path: as for :meth:`look_up`.
        """
        try:
            response = self._get(path)
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
            timeout_s = min(CONNECT_TIMEOUT_S, self._endpoint.timeout_s)
            return of_exception(error, self._httpx, server=self._server, timeout_s=timeout_s, has_answered=False)
        if response.status_code < 300:
            return None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return of_status(response.status_code, headers, response.content, str(response.url))

    def _get(self, path: str) -> Any:
        url = self._endpoint.server + path[1:] if path.startswith("//") else self._endpoint.base_url + path
        return self._http.get(url, timeout=CONNECT_TIMEOUT_S)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _note_connection(self, response: Any) -> None:
        """A connection that is used again has the same port on this side."""
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("client_addr") if stream is not None else None
        if peer is None or peer != self._last_peer:
            self.connections += 1
        self._last_peer = peer
