"""One request and its answer over HTTP/1.1: bytes out, bytes in, by httptools (llhttp, which Node and uvicorn speak HTTP with).

It opens nothing and waits for nothing: the blocking client and the event loop of load share it, so that both understand a server in
the same way. What is ours is only what llhttp leaves to its user: a limit on the head, interim answers, and a body that ends with
its connection. What is dangerous to those who pass answers on, and not to those who read them, is taken as other clients take it: lines
without CR, folded headers, blanks behind the size of a chunk, a length beside chunks.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import quote as percent
from urllib.parse import urlsplit

from ..packages import Foreign
from .failures import quote

HEAD_BYTES: Final = 100 << 10
"""Of the head of an answer, as much as other clients take."""
_PATH: Final = "/:@!$&'()*+,;=~%"
_OF_TLS: Final = (b"\x15\x03", b"\x16\x03")
"""What an alert and a handshake begin with."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class NotHTTP(Exception):
    """What came is not HTTP/1.1; the text says where it is not."""


class Receiver(Protocol):
    """What an answer is told to."""

    def head(self, status: int, headers: Mapping[str, str]) -> None: ...

    def feed(self, data: bytes, at_ns: int) -> None: ...

    def idle(self) -> bool:
        """Nothing came for a moment; whether anything more is waited for."""


class Exchange:
    """Reads one answer: :meth:`receive` for all that arrives until it :attr:`is_whole`, or :meth:`closed` where the connection ends."""

    def __init__(self, receiver: Receiver, httptools: Foreign) -> None:
        self._receiver = receiver
        self._httptools = httptools
        self._headers: list[tuple[bytes, bytes]] = []
        self._bodies: list[bytes] = []
        self._parts = 0
        """Of them, those that are the answer's, once it is whole."""
        self._status = 0
        self._head_bytes = 0
        self.has_begun = False
        """Whether a byte has come."""
        self.has_head = False
        """Whether the status and the headers are there."""
        self.is_whole = False
        """Whether all of the answer is there."""
        self.can_go_on = False
        """Whether the connection takes another request; known once the answer is whole."""
        self.on_body = self._bodies.append  # for each chunk, so without a step between
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_chunked_length=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )  # fmt: skip

    def receive(self, data: bytes, at_ns: int) -> None:
        """Take what arrived at that time.

        :raises NotHTTP: if it cannot be read.
        """
        if self.is_whole:  # nobody asked for it
            self.can_go_on = False
            return
        self.has_begun = True
        try:
            self._parser.feed_data(data)
        except self._httptools.HttpParserCallbackError:
            raise
        except self._httptools.HttpParserUpgrade as error:
            raise NotHTTP("it goes over to another protocol") from error
        except self._httptools.HttpParserError as error:
            self.can_go_on = False
            if not self.is_whole:  # else it comes after the answer
                raise NotHTTP(self._words(error, data)) from error
        if not self.has_head:
            self._tell_head(len(data))
        bodies = self._bodies
        if bodies:
            if self.is_whole:
                del bodies[self._parts :]
            self._receiver.feed(bodies[0] if len(bodies) == 1 else b"".join(bodies), at_ns)
            bodies.clear()

    def idle(self) -> bool:
        """Nothing came for a moment; whether anything more is waited for."""
        return self._receiver.idle()

    def closed(self) -> bool:
        """The server has closed the connection; whether that ends the answer."""
        told = {name.lower(): value.lower() for name, value in self._headers}
        has_end = b"content-length" in told or b"chunked" in told.get(b"transfer-encoding", b"")
        self.is_whole = self.is_whole or (self.has_head and not has_end)
        self.can_go_on = False
        return self.is_whole

    def release(self) -> None:
        """Nothing more is to come: parser and exchange hold each other, and the garbage collector may be off for long."""
        self._parser = None

    def _tell_head(self, size: int) -> None:
        self._head_bytes += size
        if self._status:
            self.has_head = True
            self._receiver.head(self._status, read_headers(self._headers))
        elif self._head_bytes > HEAD_BYTES:
            raise NotHTTP(f"its head has no end within {HEAD_BYTES >> 10} KiB")

    def _words(self, error: Exception, data: bytes) -> str:
        if self._head_bytes or data.startswith(b"HTTP/1."):
            return quote(str(error))
        if data.startswith(_OF_TLS):
            return "it speaks TLS: is its address https://?"
        said = quote(data[:80].decode("latin-1"))
        return f"it says '{said}'" if any(map(str.isalnum, said)) else "it sends bytes that are no text"

    # ---------------------------------------------------------------------------------------------- what the parser calls

    def on_message_begin(self) -> None:
        """Called by the parser; a second answer was not asked for."""
        if self.is_whole:
            self.can_go_on = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; also for trailers, which come too late to say anything."""
        if not self._status:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status >= 200 and not self.is_whole:
            self._status = status

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if not self._status:
            self._headers.clear()  # an interim answer, such as 100 Continue
        elif not self.is_whole:
            self.is_whole, self._parts = True, len(self._bodies)
            self.can_go_on = self._parser.should_keep_alive()


def read_headers(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """By lower-case name; what comes twice is one, with a comma between.

    >>> read_headers([(b"Server", b"a "), (b"server", b"b")])
    {'server': 'a, b'}
    """
    found: dict[str, str] = {}
    for raw, value in pairs:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1").strip()
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def written(
    method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *, through_proxy: bool = False
) -> bytes:
    """A request as bytes.

    :param headers: without ``Host`` and ``Content-Length``.
    :param through_proxy: whether it goes to a proxy that is to pass it on: the target is then the whole URL.
    """
    head = head_of(method, url, headers, through_proxy=through_proxy)
    return with_body(head, body) if body else head + b"\r\n"


def with_body(head: bytes, body: bytes) -> bytes:
    """A whole request, of what :func:`head_of` gave."""
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def head_of(method: str, url: str, headers: Mapping[str, str], *, through_proxy: bool = False) -> bytes:
    """The head of a request up to its ``Content-Length``, the same for all that go to one URL."""
    parts = urlsplit(url)
    host = authority(url)
    path = percent(parts.path or "/", safe=_PATH)
    target = f"{parts.scheme}://{host}{path}" if through_proxy else path
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, ""]).encode("ascii")


def authority(url: str) -> str:
    """Host and port of a URL, a port that goes without saying left away.

    >>> authority("http://h:80/v1"), authority("https://[::1]:80/v1")
    ('h', '[::1]:80')
    """
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return host if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


def unpacked(body: bytes, encoding: str) -> bytes:
    """A body that was sent compressed, though it was asked not to be; as it came where that cannot be undone."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    for bits in (
        zlib.MAX_WBITS | 32,
        -zlib.MAX_WBITS,
    ):  # gzip or zlib by their first bytes; deflate as some servers misread it
        try:
            return zlib.decompressobj(bits).decompress(body, MOST_UNPACKED)
        except zlib.error:
            continue
    return body


MOST_UNPACKED: Final = 1 << 22
"""Bytes of a small document: what is longer was made to be."""
