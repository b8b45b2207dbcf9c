"""A server that sends exactly the bytes that a test gives it, and keeps what it was sent.

    with RawServer([answer, Close()], [other]) as server:    # two connections, one after the other
        ask(f"http://127.0.0.1:{server.port}/v1")

Each connection plays its steps: bytes are sent when a whole request has come (the next bytes of the same list go at once),
:class:`Await` waits for another request, :class:`Close` and :class:`HalfClose` end it, :class:`Hold` sends nothing until the client goes,
:class:`Repeat` does not stop.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias


@dataclass(frozen=True)
class Await:
    """Another request on the same connection."""


@dataclass(frozen=True)
class Close:
    """The connection is closed, and the client can know it."""


@dataclass(frozen=True)
class HalfClose:
    """Nothing more will be sent; what comes is still read."""


@dataclass(frozen=True)
class Hold:
    """Silence, until the client goes."""


@dataclass(frozen=True)
class Repeat:
    """The same again and again, until the client goes or 20 seconds are over."""

    data: bytes


@dataclass(frozen=True)
class Pause:
    """Nothing for some seconds."""

    seconds: float


Step: TypeAlias = bytes | Await | Close | HalfClose | Hold | Pause | Repeat


class RawServer:
    """The server on a thread of its own; a context manager."""

    def __init__(
        self, *connections: Sequence[Step], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._plans = connections
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        """Heads and bodies, in the order in which they came."""
        self.played = [threading.Event() for _ in connections]
        """Set when a connection has played all its steps."""
        self._thread = threading.Thread(target=self._serve, name="raw server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for a client who never came
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        for plan, played in zip(self._plans, self.played, strict=True):
            try:
                client, _ = self._listener.accept()
                client.settimeout(30)
                with self._tls.wrap_socket(client, server_side=True) if self._tls else client as way:
                    self._play(way, plan)
            except OSError:  # the client has gone, or the test is over
                pass
            played.set()

    def _play(self, way: socket.socket, plan: Sequence[Step]) -> None:
        self.requests.append(_request(way))
        for step in plan:
            match step:
                case bytes():
                    way.sendall(step)
                case Await():
                    self.requests.append(_request(way))
                case Close():
                    return
                case HalfClose():
                    way.shutdown(socket.SHUT_WR)
                case Pause(seconds):
                    time.sleep(seconds)
                case Repeat(data):
                    for _ in range(2000):
                        way.sendall(data)
                        time.sleep(0.01)
                case Hold():
                    while way.recv(1 << 16):
                        pass
        while way.recv(1 << 16):
            pass


def _request(way: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got:
        data = way.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        got += data
    head, _, body = got.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += way.recv(1 << 16)
    return head + b"\r\n\r\n" + body
