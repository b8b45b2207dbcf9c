"""What goes wrong on the way to a server, as failures that name whose they are."""

from __future__ import annotations

import os
import ssl

from .exchange import NotHTTP
from .failures import Failure, Kind, quote
from .line import NO_WAY, Disconnected, Unreachable

NO_TLS_HINT = "what answers there speaks no TLS: is its address http://?"
TLS_HINT = "for a certificate of your own, name its authority's file in SSL_CERT_FILE"
_TLS_HINTS = {
    "WRONG_VERSION_NUMBER": NO_TLS_HINT,
    "HTTP_REQUEST": NO_TLS_HINT,
    "self-signed": TLS_HINT,
    "self signed": TLS_HINT,
    "local issuer": TLS_HINT,
    "CERTIFICATE_REQUIRED": "it asks for a certificate of the client, which is not supported: put a proxy between that has one",
    "HANDSHAKE_FAILURE": "it may ask for a certificate of the client, which is not supported: put a proxy between that has one",
}
"""What a text of OpenSSL's contains -> what to do."""


def of_exception(error: Exception, *, server: str, timeout_s: float, has_answered: bool) -> Failure:
    """What an exception means that :class:`.line.Line` raised.

    :param server: scheme, host and port, for the message.
    :param has_answered: whether the head of an answer had come.
    """
    if isinstance(error, Unreachable):
        return unreachable(error.__cause__ or error, server)
    text = quote(str(error)) or type(error).__name__
    if isinstance(error, TimeoutError):
        return silent(timeout_s)
    if isinstance(error, ssl.SSLError) and not has_answered and "ALERT" in text:  # it came behind the handshake
        return _no_tls(text, server)
    if isinstance(error, NotHTTP):
        return _failure("server_protocol", f"what answers at {server} does not speak HTTP: {text}")
    if isinstance(error, (OSError, Disconnected)):
        when = "in the middle of its answer" if has_answered else "before it answered"
        return _failure("server_died", f"the server closed the connection {when}: {text}")
    return _failure("client", f"the request could not be sent: {type(error).__name__}: {text}")


def unreachable(error: BaseException, server: str) -> Failure:
    """Why there is no connection."""
    refused = os.strerror(error.errno) if isinstance(error, ConnectionError) and error.errno else ""
    text = refused or quote(str(error)) or type(error).__name__
    if isinstance(error, TimeoutError):
        if "handshake" in text:
            return _failure("endpoint_tls", f"no secure connection to {server}: no word of TLS in time; {NO_TLS_HINT}")
        return _failure("endpoint_unreachable", f"nothing answers at {server}: no connection in time")
    if text.startswith(NO_WAY):
        return _failure("endpoint_unreachable", f"the proxy gives no way to {server}: {text.removeprefix(NO_WAY)}")
    if isinstance(error, ssl.SSLError):
        return _no_tls(text, server)
    return _failure("endpoint_unreachable", f"nothing answers at {server}: {text}; is the server running?")


def _no_tls(text: str, server: str) -> Failure:
    hint = next((words for mark, words in _TLS_HINTS.items() if mark in text), "")
    return _failure("endpoint_tls", f"no secure connection to {server}: {text}" + (f"; {hint}" if hint else ""))


def silent(timeout_s: float) -> Failure:
    """No byte came in time."""
    return _failure("server_silent", f"the server sent nothing for {timeout_s:g} s (+timeout= sets how long to wait)")


def _failure(kind: Kind, message: str) -> Failure:
    return Failure(kind=kind, message=message)
