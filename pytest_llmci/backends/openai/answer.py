"""What one request to an endpoint gave: texts, when each piece of them arrived, and what the server counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from .failures import Failure

CONTENT: Final = "c"
REASONING: Final = "r"
BOTH: Final = "b"
"""One chunk that ends the reasoning and begins the answer."""
TOOL: Final = "t"
HELD_BACK_NS: Final = 20_000
"""Pieces that follow each other faster (50,000 a second) were made before."""
HELD_BACK_PIECES: Final = 8
"""Fewer may have come together because this process had to wait for a CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What the server says that it counted; None where it does not, or where what it says cannot be."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    """Reasoning tokens included."""
    cached_tokens: int | None = None
    """Of the prompt's tokens, those that were taken from a prefix cache."""
    reasoning_tokens: int | None = None
    source: str = ""
    """``server``; empty where it sent no usage."""
    why_not: str = "the server sent no usage"
    """Why there are no counts, where there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One finished request, whether it succeeded or not. Times are nanoseconds of the clock that the reader was fed from."""

    text: str = ""
    reasoning: str = ""
    piece_ns: Sequence[int] = ()
    """When each piece of generated text arrived: reasoning, answer or arguments of a tool. The role, empty pieces and usage are none.
    Empty where the answer came in one piece of JSON."""
    piece_kinds: str = ""
    """One letter for each: ``c`` answer, ``r`` reasoning, ``b`` both in one chunk, ``t`` arguments of a tool."""
    finish_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """The name under which the server answered."""
    system_fingerprint: str = ""
    server: str = ""
    """What its ``Server`` header says."""
    rate_limit: str = ""
    """The header by which the server says that it limits rates, such as ``x-ratelimit-limit-requests: 500``."""
    is_stream: bool = False
    """False where the whole answer came as one JSON document."""
    end_ns: int | None = None
    """When the end was seen: the last byte, or ``[DONE]``."""
    logprobs: Sequence[TokenLogprob] = ()
    choices: Sequence[Choice] = ()
    """Of a document, all that it holds, by their index: one for each prompt, where several were sent in one request."""
    failure: Failure | None = None

    @property
    def ttft_any_ns(self) -> int | None:
        """When the first generated piece of any kind arrived; None where none was seen to arrive."""
        return self.piece_ns[0] if self.piece_ns else None

    @property
    def ttft_content_ns(self) -> int | None:
        """When the first piece of the answer itself arrived."""
        return self._first(CONTENT)

    @property
    def ttft_reasoning_ns(self) -> int | None:
        """When the first piece of reasoning arrived; None where the stream separates none."""
        return self._first(REASONING)

    @property
    def separates_reasoning(self) -> bool:
        """Whether reasoning came apart from the answer."""
        return bool(self.reasoning)

    @property
    def came_as_one(self) -> bool:
        """Whether several tokens came as one single piece."""
        if not self.is_stream:
            return True
        return len(self.piece_ns) == 1 and self.usage.output_tokens is not None and self.usage.output_tokens > 1

    @property
    def came_at_once(self) -> bool:
        """Whether the arrival of a first token was not seen: all came as one piece, or was held back until the last was there."""
        times = self.piece_ns
        return self.came_as_one or (bool(times) and were_held_back(times[-1] - times[0], len(times)))

    def _first(self, kind: str) -> int | None:
        place = first_of(self.piece_kinds, kind)
        return None if place is None else self.piece_ns[place]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of the answers of a document."""

    text: str
    logprobs: Sequence[TokenLogprob]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob:
    """One token with its natural log-probability."""

    text: str
    logprob: float | None
    """None for the first token of an echoed prompt, which follows nothing."""
    best: float | None = None
    """The highest log-probability at its place, where the server tells."""


def were_held_back(span_ns: float, pieces: int) -> bool:
    """Whether pieces were made before they came, as behind a proxy that buffers.

    :param span_ns: from the first to the last.

    >>> were_held_back(90_000, 10), were_held_back(900_000, 10), were_held_back(0, 2)
    (True, False, False)
    """
    return pieces >= HELD_BACK_PIECES and span_ns < HELD_BACK_NS * (pieces - 1)


def first_of(kinds: str, kind: str) -> int | None:
    """The number of the first piece of that kind; a piece of both kinds is one of either.

    >>> first_of("rrbc", "c"), first_of("cc", "r")
    (2, None)
    """
    places = [place for place in (kinds.find(kind), kinds.find(BOTH)) if place >= 0]
    return min(places) if places else None


def times_of(gaps: Sequence[int]) -> list[int]:
    """Arrival times since the request, from the time to the first piece and the gaps after it."""
    return list(accumulate(gaps))
