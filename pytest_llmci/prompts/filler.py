"""Text of a wanted length that means nothing much and is the same on every machine, in every version of Python, for good.

Words are drawn by SHA-256 and not by :mod:`random`, whose sequence for a seed is nobody's promise. The key of the draws holds seed,
length and the values of the variables, so that no two prompts begin alike: a server that keeps the prefix of an earlier prompt
would answer the next one too fast. What this module gives for a key must never change; tests hold it fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

_DETERMINERS: Final = ("the", "some", "this", "every", "one", "that", "another", "each")
_ADJECTIVES: Final = (
    "old", "quiet", "red", "small", "early", "bright", "heavy", "open", "warm", "narrow", "green", "plain", "round",
    "late", "soft", "tall", "clear", "deep", "young", "broad", "cold", "dry", "even", "fast", "grey", "high",
    "light", "long", "low", "new", "rare", "wide",
)  # fmt: skip
_NOUNS: Final = (
    "river", "teacher", "garden", "letter", "window", "market", "engine", "forest", "doctor", "bridge", "winter",
    "story", "kitchen", "island", "farmer", "paper", "signal", "street", "bottle", "machine", "village", "painter",
    "mountain", "ticket", "harbour", "captain", "number", "candle", "station", "meadow", "writer", "table", "cloud",
    "driver", "field", "guest", "house", "judge", "lake", "map", "night", "orchard", "path", "queen", "road",
    "ship", "tower", "valley", "wall", "yard", "bell", "coin", "dog", "egg", "fire", "gate", "hill", "key", "lamp",
    "moon", "nest", "owl", "pond", "tree",
)  # fmt: skip
_VERBS: Final = (
    "finds", "follows", "leaves", "watches", "carries", "crosses", "paints", "answers", "builds", "calls", "draws",
    "feeds", "guards", "hears", "joins", "keeps", "lifts", "marks", "needs", "opens", "passes", "reads", "sees",
    "turns", "visits", "wants", "warms", "brings", "covers", "meets", "moves", "shows",
)  # fmt: skip
_PREPOSITIONS: Final = ("near", "behind", "under", "beside", "before", "after", "without", "against")
_PATTERN: Final = (
    _DETERMINERS, _ADJECTIVES, _NOUNS, _VERBS, _DETERMINERS, _NOUNS, _PREPOSITIONS, _DETERMINERS, _ADJECTIVES, _NOUNS,
)  # fmt: skip


def key_of(seed: int, unit: str, length: int, values: Mapping[str, str]) -> str:
    """What the draws of one prompt depend on."""
    told = "\0".join(f"{name}={value}" for name, value in sorted(values.items()))
    return f"{seed}\0{unit}\0{length}\0{told}"


def draws(key: str) -> Iterator[int]:
    """Numbers from 0 to 2**32 - 1 without end: each digest of the key and a counter gives eight."""
    for number in itertools.count():
        digest = sha256(f"{key}\0{number}".encode("utf-8", "surrogatepass")).digest()
        for start in range(0, len(digest), 4):
            yield int.from_bytes(digest[start : start + 4], "big")


def words(key: str) -> Iterator[str]:
    """Words without end, in sentences of ten with a capital and a full stop.

    >>> " ".join(itertools.islice(words("0"), 10))
    'Every rare engine watches that candle before the late night.'
    """
    numbers = draws(key)
    for place in itertools.cycle(range(len(_PATTERN))):
        choices: Sequence[str] = _PATTERN[place]
        word = choices[
            next(numbers) % len(choices)
        ]  # all lengths are powers of two: no choice is likelier than another
        yield word.capitalize() if place == 0 else f"{word}." if place == len(_PATTERN) - 1 else word


def text_of_words(key: str, count: int) -> str:
    """That many words, with a full stop at the end."""
    text = " ".join(itertools.islice(words(key), count))
    return text if text.endswith(".") or not text else f"{text}."
