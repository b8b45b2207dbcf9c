"""How attempts that failed and were made again stand in a round's note. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_ATTEMPT: Final = re.compile(r"attempt \d+ failed: .*?(?=; attempt \d+ failed: |$)")
_FIRST: Final = "attempt 1 failed: "


def told(failed: Sequence[BaseException]) -> list[str]:
    """One text for each attempt, in their order.

    >>> told([OSError("HTTP 429"), OSError("HTTP 500")])
    ['attempt 1 failed: HTTP 429', 'attempt 2 failed: HTTP 500']
    """
    return [f"attempt {number} failed: {error}" for number, error in enumerate(failed, 1)]


def attempts_in(note: str) -> list[str]:
    """Those texts again, out of a note that may say something else before them.

    >>> attempts_in("late; attempt 1 failed: HTTP 429; slow down; attempt 2 failed: HTTP 500")
    ['attempt 1 failed: HTTP 429; slow down', 'attempt 2 failed: HTTP 500']
    """
    return _ATTEMPT.findall(note)


def requests_of(attempts: Sequence[str]) -> int:
    """How many requests these attempts belong to."""
    return sum(attempt.startswith(_FIRST) for attempt in attempts)
