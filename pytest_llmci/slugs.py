"""Short ASCII names made from any text: the default ids of prompts and of models."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

LONGEST: Final = 40
"""Characters of a slug: ten of them still fit side by side with a model's name in a test report."""
_DIGEST_LENGTH: Final = 8  # 32 bits: among 10,000 texts two share a digest in about 1 % of the sets
_PUNCTUATION: Final = frozenset(".,;:!?'\"()[]{}-_/&`*~|¿¡‘’“”„«»‹›–—…·•、。，：；！？（）「」『』")
"""What may be dropped without a digest, as texts seldom differ in it alone; ``+``, ``#``, ``<`` and so on do matter."""


def slug(text: str, *, longest: int = LONGEST) -> str:
    """A name of ASCII letters, digits, ``.``, ``_`` and ``-`` that stays the same as long as the text does.

    Accents are dropped and case is kept. Where the text had to be cut, or lost letters or symbols that carry meaning, a
    digest of the whole text tells it from others.

    :param text: anything.
    :param longest: most characters of the result, the digest included; at least 16.
    :returns: the name; empty only for a blank text.

    >>> slug("What is the capital of France?")
    'What-is-the-capital-of-France'
    >>> slug("TinyLlama-1.1B-Chat-v1.0"), slug("café"), slug("  ")
    ('TinyLlama-1.1B-Chat-v1.0', 'cafe', '')
    >>> slug("C++"), slug("C#")
    ('C-f1deb75f', 'C-04022884')
    """
    text = text.strip()
    if not text:
        return ""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    name = _dashed(bare)
    if name and len(name) <= longest and not any(map(_carries_meaning, bare)):
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    head = _cut(name, longest - _DIGEST_LENGTH - 1)
    return f"{head}-{digest}" if head else digest


def _dashed(text: str) -> str:
    joined = re.sub(r"[^A-Za-z0-9._]+", "-", text)
    return re.sub(r"[._-]*-[._-]*", "-", joined).strip("._-")


def _carries_meaning(char: str) -> bool:
    return not (char.isascii() and char.isalnum()) and not char.isspace() and char not in _PUNCTUATION


def _cut(name: str, room: int) -> str:
    """The name's beginning, cut between words where that keeps at least half of the room."""
    if len(name) <= room:
        return name
    at_word = name.rfind("-", 0, room + 1)
    return name[: at_word if at_word >= room // 2 else room].strip("._-")
