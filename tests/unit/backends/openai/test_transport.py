"""What exceptions mean that come on the way to a server."""

from __future__ import annotations

import errno
import ssl

import pytest

from pytest_llmci.backends.openai.failures import Failure
from pytest_llmci.backends.openai.line import Disconnected, Unreachable
from pytest_llmci.backends.openai.transport import of_exception, unreachable

SERVER = "https://h:443"
AUTHORITY, PLAIN, CLIENT = (
    "name its authority's file in SSL_CERT_FILE",
    "is its address http://?",
    "a certificate of the client",
)


def told(error: Exception, *, has_answered: bool = False) -> Failure:
    failure = of_exception(error, server=SERVER, timeout_s=3.0, has_answered=has_answered)
    assert "\n" not in failure.message
    return failure


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1)", AUTHORITY),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self signed certificate (_ssl.c:1)", AUTHORITY),
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate (_ssl.c:1)",
            AUTHORITY,
        ),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1)", ""),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch (_ssl.c:1)", ""),
        ("[SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert protocol version (_ssl.c:1)", ""),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)", PLAIN),
    ],
)
def test_only_what_helps_is_advised(words: str, hint: str) -> None:
    failure = unreachable(ssl.SSLError(1, words), SERVER)
    assert failure.kind == "endpoint_tls"
    assert failure.message == f"no secure connection to {SERVER}: {words}" if not hint else hint in failure.message


def test_what_is_said_behind_the_handshake_is_of_tls_too() -> None:
    alert = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:1)")
    assert told(alert).kind == "endpoint_tls" and CLIENT in told(alert).message
    assert told(alert, has_answered=True).kind == "server_died"
    assert told(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")).kind == "server_died"
    assert told(Disconnected("gone")).kind == "server_died"


def test_a_server_that_takes_a_connection_and_says_nothing_of_tls() -> None:
    assert unreachable(TimeoutError("_ssl.c:989: The handshake operation timed out"), SERVER) == Failure(
        kind="endpoint_tls", message=f"no secure connection to {SERVER}: no word of TLS in time; what answers there speaks no TLS: {PLAIN}"
    )  # fmt: skip
    assert (
        unreachable(TimeoutError("timed out"), SERVER).message == f"nothing answers at {SERVER}: no connection in time"
    )


def test_the_words_are_those_of_the_system_whoever_met_them() -> None:
    blocking = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    under_a_loop = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 443)")
    found = {unreachable(error, SERVER).message for error in (blocking, under_a_loop)}
    assert found == {f"nothing answers at {SERVER}: Connection refused; is the server running?"}
    wrapped = Unreachable()
    wrapped.__cause__ = blocking
    assert {told(wrapped).message} == found
