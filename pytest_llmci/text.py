"""Text that is safe to show: model output and prompts may hold anything."""

from __future__ import annotations

import os
import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")

_BETWEEN_WORDS = re.compile(r" (?!%(?!\w))|(?<!\d) ")
"""A blank, but not the one between a number and its per cent sign."""
_FAR = os.path.join(os.pardir, os.pardir)


def plain(text: str) -> str:
    r"""The text without control sequences, control characters and direction overrides; newlines and tabs stay.

    >>> plain("a\x1b[31mred\x1b[0m\x07")
    'ared'
    """
    return _CONTROL.sub("", _SEQUENCE.sub("", text))


def one_line(text: str) -> str:
    r""":func:`plain`, with every run of white space as one blank.

    >>> one_line("two\n  lines")
    'two lines'
    """
    return " ".join(plain(text).split())


def width(text: str) -> int:
    """Columns that the text takes in a terminal: two for each wide character (Chinese, most emoji), none for a combining one.

    >>> width("abc"), width("\u4f60\u597d"), width("e\u0301")
    (3, 4, 1)
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clipped(text: str, room: int) -> str:
    """As much of the begin of a text as fits into that many columns.

    >>> clipped("\u4f60\u597d", 3) == "\u4f60"
    True
    """
    if text.isascii():
        return text[: max(0, room)]
    taken = 0
    for number, character in enumerate(text):
        taken += _columns(character)
        if taken > room:
            return text[:number]
    return text


def shortened(name: str, room: int) -> str:
    """A name of at most that many characters, cut in the middle: those of one family differ at their ends.

    >>> shortened("a-rather-long-name", 11)
    'a-rat..name'
    """
    if len(name) <= room:
        return name
    kept = room - 2
    return f"{name[: kept - kept // 2]}..{name[-(kept // 2) :]}"


def wrapped(text: str, room: int, *, first: str = "", rest: str = "") -> list[str]:
    """The text in lines of at most that many columns, broken at white space only: a path or a command stays whole,
    and a number keeps its per cent sign.

    :param first: what the first line begins with.
    :param rest: what every other line begins with.

    >>> wrapped("one two three", 9, rest="  ")
    ['one two', '  three']
    >>> wrapped("up by 5 %", 8)
    ['up by', '5 %']
    """
    lines, line, is_empty = [], first, True
    for word in _BETWEEN_WORDS.split(one_line(text)):
        longer = line + word if is_empty else f"{line} {word}"
        if is_empty or width(longer) <= room:
            line, is_empty = longer, False
        else:
            lines.append(line)
            line = rest + word
    return [*lines, line]


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as the user would type it: from the current directory, where that is shorter and not far away.

    >>> shown_path(os.path.join(os.getcwd(), "out.log"))
    'out.log'
    """
    whole = os.fspath(path)
    try:
        relative = os.path.relpath(whole)
    except (ValueError, OSError):  # another drive; a current directory that is gone
        return whole
    return relative if len(relative) < len(whole) and not relative.startswith(_FAR) else whole


def how_many(number: int, noun: str) -> str:
    """
    >>> how_many(1, "cell"), how_many(1472, "model")
    ('1 cell', '1,472 models')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def told_noisy(noisy: int, rounds: int, *, past: bool = True) -> str:
    """How many rounds are noisy, as a clause.

    >>> [told_noisy(number, 5) for number in (0, 1, 2, 5)]
    ['none of 5 rounds was noisy', '1 of 5 rounds was noisy', '2 of 5 rounds were noisy', 'all 5 rounds were noisy']
    >>> told_noisy(1, 1), told_noisy(0, 1), told_noisy(1200, 1200, past=False)
    ('the only round was noisy', 'the only round was not noisy', 'all 1,200 rounds are noisy')
    """
    one, many = ("was", "were") if past else ("is", "are")
    if rounds == 1:
        return f"the only round {one} {'' if noisy else 'not '}noisy"
    if noisy == rounds:
        return f"all {rounds:,} rounds {many} noisy"
    return f"{f'{noisy:,}' if noisy else 'none'} of {rounds:,} rounds {one if noisy < 2 else many} noisy"


def sentence(clause: str) -> str:
    """The clause with a capital letter.

    >>> sentence("all 5 rounds"), sentence("1 of 5")
    ('All 5 rounds', '1 of 5')
    """
    return clause[:1].upper() + clause[1:]
