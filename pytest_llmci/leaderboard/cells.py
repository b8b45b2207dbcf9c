"""The cells of a leaderboard as numbers: people write 7B, 1,234, 52.15 %, -1 and n/a.

What is no number raises ValueError; what says that there is none is None.
"""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime
from typing import Final

NOTHING: Final = frozenset({"", "-", "--", "?", "n/a", "na", "nan", "none", "null", "unknown", "not available"})
"""How a cell says that it holds nothing, in lower case."""
PLAIN_COUNT: Final = 1e6
"""A size without a unit from here on is a number of parameters, not of billions."""
LARGEST_B: Final = 1e4
"""Billions of parameters from which on a size without a unit is a slip."""
_BILLIONS: Final = {"k": 1e-6, "m": 1e-3, "b": 1.0, "bn": 1.0, "t": 1e3}
_GROUPING: Final = re.compile(r"[\s_'’\u00a0\u202f]")
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+\Z")
_SIZE: Final = re.compile(
    r"(?P<number>.*?)\s*(?P<unit>k|m|bn|b|t)?\s*(params|parameters)?\Z", re.IGNORECASE | re.DOTALL
)
_MIXTURE: Final = re.compile(r"(?P<experts>\d+)\s*x\s*(?P<each>\d+(?:\.\d+)?)\s*b\Z", re.IGNORECASE)
_SIZE_IN_NAME: Final = re.compile(
    r"(?<![A-Za-z0-9.])(?:(?P<experts>\d{1,2})x)?(?P<number>\d+(?:\.\d+)?)(?P<unit>[bm])(?![A-Za-z0-9])", re.IGNORECASE
)
_YES: Final = frozenset({"true", "yes", "y", "1", "1.0", "auto", "manual", "gated", "flagged", "✅", "✓"})
_NO: Final = frozenset({"false", "no", "n", "0", "0.0", "open", "❌", "✗"})


def is_nothing(text: str) -> bool:
    """Whether the cell says that there is no value."""
    return text.strip().casefold() in NOTHING


def parse_number(text: str, *, counts: bool = False) -> float:
    """A finite number as people write it, in any of the usual conventions.

    :param counts: a single comma before three digits divides thousands; else it is the decimal comma.
    :raises ValueError: if it is none.

    >>> parse_number("1,234", counts=True), parse_number("52,15"), parse_number("1.234.567,5"), parse_number("12 345")
    (1234.0, 52.15, 1234567.5, 12345.0)
    """
    bare = _GROUPING.sub("", unicodedata.normalize("NFKC", text))
    if bare.rfind(",") > bare.rfind(".") > -1:  # 1.234,5
        bare = bare.replace(".", "").replace(",", ".")
    elif "," in bare and "." in bare:
        bare = bare.replace(",", "")
    elif "," in bare:
        is_grouped = bool(_THOUSANDS.match(bare)) and (counts or bare.count(",") > 1)
        bare = bare.replace(",", "" if is_grouped else ".")
    elif bare.count(".") > 1:
        bare = bare.replace(".", "")
    value = float(bare)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def parse_score(text: str) -> tuple[float, bool] | None:
    """A score as written, and whether a per cent sign stands behind it.

    >>> parse_score("52.15 %"), parse_score("0.52"), parse_score("n/a")
    ((52.15, True), (0.52, False), None)
    """
    if is_nothing(text):
        return None
    bare = text.strip()
    return parse_number(bare.removesuffix("%")), bare.endswith("%")


def parse_count(text: str) -> float | None:
    """A number of things, such as likes; below zero there is none."""
    value = None if is_nothing(text) else parse_number(text, counts=True)
    return None if value is None or value < 0 else value


def parse_size(text: str, unit: str = "b") -> float | None:
    """Billions of parameters; None where the cell is empty, 0 or below: what boards write where they do not know.

    :param unit: of a number without one, as the header says: ``b`` or ``m``.

    >>> parse_size("7B"), parse_size("125M"), parse_size("1.1"), parse_size("-1"), parse_size("124,439,808"), parse_size("8x7B")
    (7.0, 0.125, 1.1, None, 0.124439808, 56.0)
    """
    if is_nothing(text):
        return None
    mixture = _MIXTURE.match(text.strip())
    if mixture:
        return int(mixture["experts"]) * float(mixture["each"])
    match = _SIZE.match(text.strip())
    assert match is not None  # every part may be empty
    value = parse_number(match["number"])
    if value <= 0:
        return None
    if match["unit"]:
        return value * _BILLIONS[match["unit"].lower()]
    if value >= PLAIN_COUNT:
        return value / 1e9
    billions = value * _BILLIONS[unit]
    if billions >= LARGEST_B:
        raise ValueError(text)
    return billions


def size_in_name(name: str) -> float | None:
    """Billions of parameters that a model's name tells; the first such part counts, as later ones may count tokens.

    >>> size_in_name("org/TinyLlama-1.1B-step-240k-503b"), size_in_name("EleutherAI/gpt-neo-125m"), size_in_name("x/8bit-70v1")
    (1.1, 0.125, None)
    """
    match = _SIZE_IN_NAME.search(name.rpartition("/")[2])
    if match is None:
        return None
    value = float(match["number"]) * _BILLIONS[match["unit"].lower()] * int(match["experts"] or 1)
    return value if 0 < value < LARGEST_B else None


def parse_flag(text: str) -> bool | None:
    """Yes, no, or nothing said."""
    bare = text.strip().casefold()
    if bare in _YES:
        return True
    if bare in _NO:
        return False
    if is_nothing(bare):
        return None
    raise ValueError(text)


def parse_time(text: str) -> datetime | None:
    """A date or a time; without a zone it is UTC. None where it is neither."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def plain_text(text: str) -> str:
    """The text of a cell: without tags of HTML, without a leading symbol, empty where it says nothing.

    >>> plain_text('<a href="https://x">org/model</a>'), plain_text("🟢 pretrained"), plain_text("unknown")
    ('org/model', 'pretrained', '')
    """
    bare = re.sub(r"<[^<>]*>", "", text).strip()
    while bare and unicodedata.category(bare[0]) in ("So", "Sk", "Mn", "Cf", "Zs"):
        bare = bare[1:].lstrip()
    return "" if is_nothing(bare) else bare
