"""One token asked of a server: the only proof that it is ready, and how long a request takes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..backends.openai.failures import server_words
from ..clock import Clock
from ..errors import ServingError
from .base import Address

PROMPT: Final = "Hello"
BUSY: Final = (429, 503)
"""What a server answers while it loads."""
_MOST_BYTES: Final = 1 << 20
_BODIES: Final[tuple[tuple[str, Mapping[str, Any]], ...]] = (
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}]}),
    ("/v1/completions", {"prompt": PROMPT}),
)
"""The second one for models that have no chat template."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A request that was answered."""

    seconds: float
    """From sending to the last byte of the answer."""
    path: str
    """Where it was sent."""


class NotYet(Exception):
    """The server does not answer yet, and may soon."""


def ask(address: Address, model: str, clock: Clock, timeout_s: float, path: str = "") -> Reply:
    """Ask for one token.

    :param path: of the request; empty: chat, then plain completion where chat is refused.
    :raises NotYet: if it is busy, refuses connections, or does not answer in time.
    :raises ServingError: if it answers something that is no answer.
    """
    refusals: list[str] = []
    for each, body in _BODIES:
        if path in ("", each):
            begun = clock.now_ns()
            status, answer = _post(
                address, each, {"model": model, **body, "max_tokens": 1, "temperature": 0}, timeout_s
            )
            took = (clock.now_ns() - begun) / 1e9
            if status == 200:
                _check(answer, each)
                return Reply(seconds=took, path=each)
            if status in BUSY:
                raise NotYet(f"{each} answers {status}")
            refusals.append(f"{each} answers {status} ({server_words(answer)})")
    raise ServingError(f"the server does not answer a request for one token: {'; '.join(refusals)}.")


def _post(address: Address, path: str, body: Mapping[str, Any], timeout_s: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address.asked or address.host, address.port, timeout=timeout_s)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise NotYet(f"{path}: {type(error).__name__}") from error
    finally:
        connection.close()


def _check(answer: bytes, path: str) -> None:
    """:raises ServingError: unless it is an answer with a choice."""
    try:
        choices = json.loads(answer)["choices"]
        found = isinstance(choices, list) and bool(choices)
    except (ValueError, KeyError, TypeError):
        found = False
    if not found:
        raise ServingError(f"the server's answer at {path} is none of OpenAI's protocol: {server_words(answer)}")
