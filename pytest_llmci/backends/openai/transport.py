"""What goes wrong on the way to a server, as failures that name whose they are."""

from __future__ import annotations

from .exchange import NotHTTP
from .failures import Failure, Kind, quote
from .line import NO_WAY, Disconnected, Unreachable

NO_TLS_HINT = "what answers there speaks no TLS: is its address http://?"
TLS_HINT = "for a certificate of your own, name its authority's file in SSL_CERT_FILE"


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
    if isinstance(error, NotHTTP):
        return _failure("server_protocol", f"what answers at {server} does not speak HTTP: {text}")
    if isinstance(error, (OSError, Disconnected)):
        when = "in the middle of its answer" if has_answered else "before it answered"
        return _failure("server_died", f"the server closed the connection {when}: {text}")
    return _failure("client", f"the request could not be sent: {type(error).__name__}: {text}")


def unreachable(error: BaseException, server: str) -> Failure:
    """Why there is no connection."""
    text = quote(str(error)) or type(error).__name__
    if isinstance(error, TimeoutError):
        return _failure("endpoint_unreachable", f"nothing answers at {server}: no connection in time")
    if text.startswith(NO_WAY):
        return _failure("endpoint_unreachable", f"the proxy gives no way to {server}: {text.removeprefix(NO_WAY)}")
    if "SSL" in text or "CERTIFICATE" in text or "certificate" in text:
        hint = NO_TLS_HINT if "WRONG_VERSION_NUMBER" in text else TLS_HINT
        return _failure("endpoint_tls", f"no secure connection to {server}: {text}; {hint}")
    return _failure("endpoint_unreachable", f"nothing answers at {server}: {text}; is the server running?")


def silent(timeout_s: float) -> Failure:
    """No byte came in time."""
    return _failure("server_silent", f"the server sent nothing for {timeout_s:g} s (+timeout= sets how long to wait)")


def _failure(kind: Kind, message: str) -> Failure:
    return Failure(kind=kind, message=message)
