"""Prompts of an exact number of tokens: known only beside a model, whose tokenizer counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ..errors import GenerationError
from ..records import Message, Prompt
from .filler import words

MARK: Final = "\ue000filler\ue001"
"""Stands where the filler goes; private characters, which no text of people holds."""
_PIECES: Final = (" a", " I", " to", " of", ".", "!", ",", "?", " the", " in", ";", ":", "-", "x", "e", "\n")
"""One token each in most vocabularies; what is lacking behind the last whole word is made of them."""
_WORDS_TO_DROP: Final = 12
"""Before it is given up: behind each other word the pieces merge with it in another way."""
Count = Callable[[Sequence[Prompt]], list[int]]
"""Tokens of prompts as the model gets them, its chat template included."""


def filled(prompt: Prompt, filler: str) -> Prompt:
    """The prompt with a text in place of the mark."""
    if prompt.fill is None:
        return prompt
    text = None if prompt.fill.text is None else prompt.fill.text.replace(MARK, filler)
    messages = tuple(replace(each, content=each.content.replace(MARK, filler)) for each in prompt.fill.messages)
    return replace(prompt, text=text, messages=messages)


def refilled(prompt: Prompt, text: str | None, messages: Sequence[Message]) -> Prompt | None:
    """The prompt as a model was asked it before, without the model.

    :param text: what it was asked, or
    :param messages: these.
    :returns: None if that is nothing that this prompt becomes, whatever the tokenizer.
    """
    if prompt.fill is None:
        return prompt
    parts = [(prompt.fill.text or "", text or "")]
    if prompt.fill.messages:
        parts = [(own.content, then.content) for own, then in zip(prompt.fill.messages, messages, strict=False)]
    for own, then in parts:
        before, mark, after = own.partition(MARK)
        if mark and len(then) >= len(before) + len(after) and then.startswith(before) and then.endswith(after):
            filler = then[len(before) : len(then) - len(after)]
            found = filled(prompt, filler)
            same = found.messages == tuple(messages) if prompt.fill.messages else found.text == text
            return found if same and _is_filler(filler, prompt.fill.key) else None
    return None


def _is_filler(text: str, key: str) -> bool:
    """Whether it is made of the words of the key, from the first, and of pieces behind them."""
    drawn = list(itertools.islice(words(key), text.count(" ") + 1))
    for number in range(len(drawn), -1, -1):
        known = " ".join(drawn[:number])
        if text.startswith(known):
            return _are_pieces(text[len(known) :])
    return False


def _are_pieces(text: str) -> bool:
    ends = {0}
    for start in range(len(text)):
        if start in ends:
            ends.update(start + len(piece) for piece in _PIECES if text.startswith(piece, start))
    return len(text) in ends


def fitted(prompt: Prompt, count: Count, model: str) -> Prompt:
    """The prompt with as much filler as makes it exactly ``prompt.fill.tokens`` tokens for a model.

    :param model: its name, for messages.
    :raises GenerationError: of kind ``length``, if the rest of the prompt is longer already or no text of that length is found.
    """
    fill = prompt.fill
    if fill is None:
        return prompt
    source, known = words(fill.key), list[str]()

    def text(number: int) -> str:
        known.extend(itertools.islice(source, max(0, number - len(known))))
        return " ".join(known[:number])

    def tokens(*fillers: str) -> list[int]:
        return count([filled(prompt, filler) for filler in fillers])

    (least,) = tokens("")
    if least > fill.tokens:
        raise GenerationError(
            f"{model}: prompt '{prompt.id}' is to have {fill.tokens} tokens, but without filler it has {least}; ask for more, or"
            " shorten its template.",
            kind="length",
        )
    most = _most_words(lambda number: tokens(text(number))[0], fill.tokens)
    for number in range(most, max(0, most - _WORDS_TO_DROP) - 1, -1):
        found = _padded(text(number), tokens, fill.tokens)
        if found is not None:
            return filled(prompt, found)
    raise GenerationError(
        f"{model}: prompt '{prompt.id}' is to have {fill.tokens} tokens, and no filler makes exactly that many; ask for another number.",
        kind="length",
    )


def _most_words(tokens: Callable[[int], int], wanted: int) -> int:
    """How many words fit: by doubling, then by halving."""
    low, high = 0, 1
    while tokens(high) <= wanted:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tokens(middle) <= wanted else (low, middle)
    return low


def _padded(text: str, tokens: Callable[..., list[int]], wanted: int) -> str | None:
    """The text with pieces behind it until the number is met; None where they do not lead there."""
    (now,) = tokens(text)
    for step in range(wanted - now + 1):
        if now == wanted:
            return text
        start = step % len(_PIECES)
        pieces = _PIECES[start:] + _PIECES[:start]
        counts = tokens(*(text + piece for piece in pieces))
        better = [(each, number) for number, each in enumerate(counts) if now < each <= wanted]
        if not better:
            return None
        now, chosen = min(better)
        text += pieces[chosen]
    return text if now == wanted else None
