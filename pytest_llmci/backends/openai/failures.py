"""Whose fault it is that an endpoint gave no answer.

A failure is never a slow model: no latency is made of it. It is the server's (it refused, broke off, or sent what is not the
protocol), the settings' (a wrong address, key or model name), or the tool's (this machine could not send or read).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from ...text import plain

Fault = Literal["server", "settings", "tool"]
Kind = Literal[
    "server_busy", "server_error", "server_died", "server_silent", "server_stream", "server_protocol", "server_model",
    "endpoint_unreachable", "endpoint_tls", "endpoint_redirect", "endpoint_key", "endpoint_model", "endpoint_request", "client",
]  # fmt: skip
"""What went wrong: ``server_busy`` 429 or 503, ``server_error`` another 5xx or an error event, ``server_died`` the connection broke
after the request was sent, ``server_silent`` nothing came in time, ``server_stream`` what came cannot be read, ``server_protocol`` it
is no OpenAI-compatible server, ``server_model`` another model answered; ``endpoint_*`` is what the settings name; ``client``
is this side."""
RETRIED: Final[frozenset[Kind]] = frozenset({"server_busy", "server_error", "endpoint_unreachable"})
"""Kinds that another attempt may mend, as long as no piece of an answer has come."""
LONGEST_QUOTE: Final = 200
"""Characters of a server's own words in a message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a request gave no answer, in one line."""

    kind: Kind
    message: str
    """Without the name of the model; it never holds the key."""
    status: int | None = None
    retry_after_s: float | None = None
    """How long the server asks to be left alone."""
    has_begun: bool = False
    """Whether a piece of the answer had come."""

    @property
    def fault(self) -> Fault:
        """Whose it is."""
        if self.kind == "client":
            return "tool"
        return "server" if self.kind.startswith("server_") or self.kind == "endpoint_unreachable" else "settings"

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed when it is sent again."""
        return self.kind in RETRIED and not self.has_begun


_TIMED_OUT: Final = (408, 425)
"""The server did not take the request in its time; that is not the request's fault."""
_NO_SUCH_REQUESTS: Final = (
    "the address takes no such requests; expected the base of an OpenAI-compatible API, such as http://host:8000/v1"
)


def of_status(status: int, headers: Mapping[str, str], body: bytes, url: str, key_env: str = "") -> Failure:
    """What an answer without success means.

    :param headers: by lower-case name.
    :param body: its first bytes.
    :param url: that the request was sent to.
    :param key_env: the environment variable whose key was sent with it; empty if none was.
    """
    says = server_words(body)
    quoted = f": {says}" if says else ""
    if 300 <= status < 400:
        return _redirect(status, headers.get("location", ""), url)
    if status in (429, 503):
        wait = retry_after_s(headers.get("retry-after", ""))
        asked = "" if wait is None else f" (it asks to wait {wait:g} s)"
        word = "limits the rate" if status == 429 else "is not available"
        return Failure(
            kind="server_busy", message=f"the server {word}, HTTP {status}{asked}{quoted}", status=status, retry_after_s=wait
        )  # fmt: skip
    if 200 <= status < 300:
        return Failure(
            kind="server_protocol", message=f"the server answers HTTP {status} instead of 200{quoted}", status=status
        )
    if status >= 500 or status in _TIMED_OUT:
        wait = retry_after_s(headers.get("retry-after", ""))
        return Failure(
            kind="server_error", message=f"the server failed, HTTP {status}{quoted}", status=status, retry_after_s=wait
        )
    if status in (401, 403):
        words = _about_key(status, key_env)
        return Failure(kind="endpoint_key", message=f"{words} (HTTP {status}{quoted})", status=status)
    if status == 405:
        words = _NO_SUCH_REQUESTS
        return Failure(kind="server_protocol", message=f"{words} (HTTP {status}{quoted})", status=status)
    if status == 404 and says and "model" in says.lower():
        return Failure(kind="endpoint_model", message=f"the server has no such model (HTTP 404{quoted})", status=status)
    if status == 404:
        return Failure(
            kind="server_protocol",
            message=f"there is nothing at {url} (HTTP 404{quoted}); expected the base of an OpenAI-compatible API, such as"
            " http://host:8000/v1, and an interface that the server offers: +api=chat or +api=completions",
            status=status,
        )  # fmt: skip
    return Failure(
        kind="endpoint_request", message=f"the server refuses the request, HTTP {status}{quoted}", status=status
    )


def _about_key(status: int, key_env: str) -> str:
    if not key_env:
        what = "wants a key" if status == 401 else "does not allow it without a key"
        return f"the server {what}; name the variable that holds it: +key_env=NAME"
    if status == 401:
        return f"the server refuses the key in {key_env}; put one into that variable that is valid at this server"
    return f"the server does not allow it with the key in {key_env}"


def _redirect(status: int, location: str, url: str) -> Failure:
    here, there = urlsplit(url), urlsplit(location)
    elsewhere = there.netloc and (there.scheme, there.netloc) != (here.scheme, here.netloc)
    place = f"{there.scheme}://{there.hostname or ''}{_port(there.netloc)}" if elsewhere else (there.path or "nowhere")
    kept = "; nothing was sent there, the key neither" if elsewhere else ""
    return Failure(
        kind="endpoint_redirect",
        message=f"the server redirects to {place}{kept} (HTTP {status}); if that is right, give its address",
        status=status,
    )


def _port(netloc: str) -> str:
    port = netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    return f":{port}" if port else ""


def retry_after_s(text: str, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number, or a date; None where it is neither.

    >>> retry_after_s("1.5"), retry_after_s("soon"), retry_after_s("99999999999")
    (1.5, None, 99999999999.0)
    """
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (TypeError, ValueError, OverflowError):
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def server_words(body: bytes) -> str:
    """What a server says of an error: its message, or the beginning of whatever it sent; on one line."""
    text = body.decode("utf-8", "replace")
    try:
        found: object = json.loads(text)
    except ValueError:
        return quote(text)
    return error_words(found) or quote(text)


def error_words(found: object) -> str:
    """The message in the forms of OpenAI (``error.message``), FastAPI (``detail``) and others (``message``)."""
    if not isinstance(found, Mapping):
        return ""
    inner = found.get("error", found)
    if isinstance(inner, str):
        return quote(inner)
    if isinstance(inner, Mapping):
        for name in ("message", "detail", "error"):
            if inner.get(name):
                return quote(_said(inner[name]))
    return ""


def _said(found: object) -> str:
    """A message; of FastAPI's list of what is wrong with a request, each part with its place: ``body.top_k: not permitted``."""
    if not isinstance(found, list):
        return str(found)
    parts = [each for each in found if isinstance(each, Mapping) and each.get("msg")]
    if not parts:
        return str(found)
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" if isinstance(each.get("loc"), list) else str(each["msg"])
        for each in parts
    )


def quote(text: str) -> str:
    """The beginning of a foreign text, printable and on one line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in plain(text)).split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 3] + "..."
