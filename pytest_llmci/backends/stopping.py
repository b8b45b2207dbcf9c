"""Where an answer ends that is to stop at certain texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..records import Completion


def cut(text: str, stop: Sequence[str]) -> str | None:
    """The text before the first of ``stop``; None where it holds none of them.

    >>> cut("4. Question: what", ["Question:", "4"])
    ''
    """
    places = [place for each in stop if each and (place := text.find(each)) >= 0]
    return text[: min(places)] if places else None


def stopped(completion: Completion, stop: Sequence[str]) -> Completion:
    """The answer as far as it counts; tokens are those that were made, the ones that were cut off among them."""
    text = cut(completion.text, stop)
    return completion if text is None else dataclasses.replace(completion, text=text, finish_reason="stop")
