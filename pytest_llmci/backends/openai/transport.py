"""What httpx raises, as failures that name whose they are; the module is handed over, since only clients import it."""

from __future__ import annotations

from typing import Any

from .failures import Failure, Kind, quote

NO_TLS_HINT = "what answers there speaks no TLS: is its address http://?"
TLS_HINT = "for a certificate of your own, name its authority's file in SSL_CERT_FILE"


def of_exception(error: Exception, httpx: Any, *, server: str, timeout_s: float, has_answered: bool) -> Failure:
    """What an exception of httpx means.

    :param server: scheme, host and port, for the message.
    :param has_answered: whether the head of an answer had come.
    """
    text = quote(str(error)) or type(error).__name__

    def failure(kind: Kind, message: str) -> Failure:
        return Failure(kind=kind, message=message)

    if isinstance(error, httpx.ConnectTimeout):
        return failure("endpoint_unreachable", f"nothing answers at {server}: no connection in time")
    if isinstance(error, httpx.ConnectError):
        if "SSL" in text or "CERTIFICATE" in text or "certificate" in text:
            hint = NO_TLS_HINT if "WRONG_VERSION_NUMBER" in text else TLS_HINT
            return failure("endpoint_tls", f"no secure connection to {server}: {text}; {hint}")
        return failure("endpoint_unreachable", f"nothing answers at {server}: {text}; is the server running?")
    if isinstance(error, httpx.ReadTimeout):
        return failure(
            "server_silent", f"the server sent nothing for {timeout_s:g} s (+timeout= sets how long to wait)"
        )
    if isinstance(error, httpx.PoolTimeout):
        return failure("client", "no connection of this client became free in time")
    if isinstance(error, httpx.ProxyError):
        return failure("endpoint_unreachable", f"the proxy gives no way to {server}: {text}")
    if isinstance(error, (httpx.ReadError, httpx.WriteError, httpx.WriteTimeout, httpx.RemoteProtocolError)):
        if isinstance(error, httpx.RemoteProtocolError) and not has_answered and "disconnected" not in text:
            return failure("server_protocol", f"what answers at {server} does not speak HTTP: {text}")
        when = "in the middle of its answer" if has_answered else "before it answered"
        return failure("server_died", f"the server closed the connection {when}: {text}")
    if isinstance(error, httpx.DecodingError):
        return failure("server_stream", f"what the server sent cannot be decoded: {text}")
    return failure("client", f"the request could not be sent: {type(error).__name__}: {text}")
