"""The way to a server: one connection that is kept, opened by the standard library, through a proxy where the environment names one.

A blocking socket and nothing else lies between the bytes and the clock. The connection is opened anew where the server has
closed it, and where it was idle for so long that the server may be about to.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import select
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from ...errors import ModelLoadError
from ..packages import require
from .endpoint import Endpoint
from .exchange import Exchange

EXTRA: Final = "pytest-llmci[openai]"
IDLE_S: Final = 5.0
"""After so long many servers close a connection; a request that they meet on the way would be lost."""
READ_BYTES: Final = 1 << 16
MOMENT_S: Final = 0.25
"""What has come is read after so long without a byte, and so often while there is no such pause: of a process that is killed it is
told how far its answer was."""
CLOSED_S: Final = 1.0
"""A kept connection that ends so soon after a request, without a byte, had ended for the server before it heard of the request; one that
ends later may have died of it."""
NO_WAY: Final = "Tunnel connection failed: "
"""What the standard library says before a proxy's own words."""


class Disconnected(Exception):
    """The server closed the connection before its answer was whole."""


class Unreachable(Exception):
    """There is no connection to be had; its cause says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """What passes requests on."""

    host: str
    port: int
    headers: dict[str, str]
    """Its user and password, where it wants them."""


def proxy_of(endpoint: Endpoint) -> Proxy | None:
    """The proxy on the way to a server.

    :raises ModelLoadError: if it cannot be spoken to.
    """
    name, address = endpoint.proxy()
    if not address:
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme != "http" or not host:
        raise ModelLoadError(
            f"openai:{endpoint.base_url}: the proxy of {name} is none of http://host:port, and no other is spoken to; "
            "name such a one, or the server in NO_PROXY.",
            kind="option",
        )
    headers = {}
    if parts.username:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    return Proxy(host=host, port=port or 80, headers=headers)


def trust(who: str) -> ssl.SSLContext:
    """Whose certificates are believed: those of ``SSL_CERT_FILE`` and of ``SSL_CERT_DIR``, as OpenSSL takes them, else Mozilla's list.

    :param who: needs it, for the message.
    :raises ModelLoadError: if they cannot be read.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        file = require("certifi", who, EXTRA).where()
    try:
        context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    except OSError as error:  # ssl.SSLError is one
        raise ModelLoadError(
            f"{who}: the certificates of SSL_CERT_FILE, '{file}', cannot be read: {error.strerror or error}; name a file in PEM form.",
            kind="option",
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


class Line:
    """One connection at a time, and one request on it.

    :param connect_s: to wait for a connection.
    """

    def __init__(self, endpoint: Endpoint, *, connect_s: float) -> None:
        """:raises ModelLoadError: if the proxy or the certificates of the environment are none."""
        parts = urlsplit(endpoint.base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = trust(f"openai:{endpoint.base_url}") if parts.scheme == "https" else None
        self._proxy = proxy_of(endpoint)
        self._connect_s = connect_s
        self._socket: socket.socket | None = None
        self._used = 0.0
        self.opened = 0
        """Connections so far."""

    @property
    def asks_proxy(self) -> bool:
        """Whether the proxy itself reads the requests, since nothing hides them from it."""
        return self._proxy is not None and self._tls is None

    @property
    def headers(self) -> dict[str, str]:
        """What requests carry for the proxy."""
        return self._proxy.headers if self._proxy is not None and self._tls is None else {}

    def ready(self) -> socket.socket:
        """The connection, opened if there is none that still holds.

        :raises Unreachable: if there is none to be had.
        """
        if self._socket is not None and (time.monotonic() - self._used > IDLE_S or _has_ended(self._socket)):
            self.close()
        if self._socket is None:
            self._socket = self._opened()
            self.opened += 1
        return self._socket

    def ask(self, request: bytes, exchange: Exchange, *, silence_s: float) -> int:
        """Send a request, and read until its answer is whole; again, where it met the end of a connection that was kept.

        :param silence_s: to wait for any further byte.
        :returns: when the end was there.
        :raises Unreachable: if there is no connection.
        :raises OSError: if it breaks, or TimeoutError if nothing comes.
        :raises Disconnected: if the server ends it too early.
        :raises NotHTTP: if what comes cannot be read.
        """
        kept = self._socket
        way = self.ready()
        sent = time.monotonic()
        try:
            try:
                return _asked(way, request, exchange, silence_s)
            except (Disconnected, ConnectionError):
                if way is not kept or exchange.has_begun or time.monotonic() - sent > CLOSED_S:
                    raise
            self.close()
            return _asked(self.ready(), request, exchange, silence_s)
        finally:
            self._used = time.monotonic()
            exchange.release()
            if not exchange.can_go_on:
                self.close()

    def close(self) -> None:
        """Let go of it."""
        way, self._socket = self._socket, None
        if way is not None:
            way.close()

    def _opened(self) -> socket.socket:
        proxy, tls = self._proxy, self._tls
        host, port = (self._host, self._port) if proxy is None else (proxy.host, proxy.port)
        made = (
            http.client.HTTPConnection(host, port, timeout=self._connect_s)
            if tls is None
            else http.client.HTTPSConnection(host, port, timeout=self._connect_s, context=tls)
        )
        if proxy is not None and tls is not None:
            made.set_tunnel(self._host, self._port, {"Host": f"{self._host}:{self._port}", **proxy.headers})
        try:
            made.connect()
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # the last: a name that no host can have
            made.close()
            raise Unreachable from error
        except BaseException:
            made.close()
            raise
        way: socket.socket = made.sock
        return way


def _asked(way: socket.socket, request: bytes, exchange: Exchange, silence_s: float) -> int:
    way.settimeout(silence_s)
    with contextlib.suppress(ConnectionError):  # it may have answered before it had heard all, and closed
        way.sendall(request)
    return _heard(way, exchange, silence_s)


def _heard(way: socket.socket, exchange: Exchange, silence_s: float) -> int:
    """Read until an answer is whole, or is at its end and left open; when the last of it came."""
    clock, receive, at = time.perf_counter_ns, exchange.receive, 0
    moment_s = min(MOMENT_S, silence_s)
    moment_ns = round(moment_s * 1e9)
    look_ns, is_over = clock() + moment_ns, False
    way.settimeout(moment_s)
    while not exchange.is_whole:
        try:
            data = way.recv(READ_BYTES)
        except TimeoutError:
            if not exchange.idle():
                break
            data = _patiently(way, moment_s, silence_s)
        at = clock()
        if data:
            receive(data, at)
        elif not exchange.closed():
            raise Disconnected(_how(exchange))
        if at > look_ns and not exchange.is_whole:
            if is_over:
                break
            look_ns, is_over = at + moment_ns, not exchange.idle()  # the end of HTTP may be on its way
    return at or clock()


def _patiently(way: socket.socket, waited_s: float, silence_s: float) -> bytes:
    """What comes in the rest of the time.

    :raises TimeoutError: if that is nothing.
    """
    way.settimeout(max(silence_s - waited_s, 0.001))
    data = way.recv(READ_BYTES)
    way.settimeout(waited_s)
    return data


def _how(exchange: Exchange) -> str:
    if not exchange.has_head:
        return "Server disconnected without sending a response."
    return "peer closed connection without sending complete message body"


def _has_ended(way: socket.socket) -> bool:
    """Whether an idle connection has something to read: it was closed, or something came that nobody asked for."""
    if hasattr(select, "poll"):
        looker = select.poll()
        looker.register(way, select.POLLIN)
        return bool(looker.poll(0))
    return bool(select.select([way], [], [], 0)[0])
