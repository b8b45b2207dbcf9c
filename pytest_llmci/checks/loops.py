"""``repetition``: the output does not end in an endless loop.

The rule. White space counts as single blanks, and blanks at the end do not count. The output is a loop if it ends in
one unit (a character, a word, a sentence, a line) repeated back to back, letter by letter, at least 4 times, the last
time perhaps cut off, and the repeated part is

- at least 40 characters and at least half of the output, or
- at least 1000 characters in at least 10 repetitions, whatever came before.

A unit without letters or digits may be a ruled line (``-----``, ``| --- |``): in its case the half must be 160
characters, two full lines, or else nine tenths of the output.

So lists, tables, code and verse pass, whose lines are alike and not the same, and so does a refrain that other lines
part. What repeats with variations (counting up, say) passes too: this is a check for broken decoding, not for dullness.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..records import CheckResult
from .arguments import excerpt, refuse_argument
from .base import BuiltIn, CheckInput, Exemplar

LEAST_REPETITIONS: Final = 4
LEAST_CHARACTERS: Final = 40  # a short answer may well say "no, no, no, no"
LEAST_SHARE: Final = 0.5
RULED_LINE_CHARACTERS: Final = 160
RULED_LINE_SHARE: Final = 0.9
LONG_LOOP_CHARACTERS: Final = 1000
LONG_LOOP_REPETITIONS: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """The unit that a text repeats to its end."""

    unit: str
    repetitions: float
    """How often, the cut-off part counted as a fraction."""
    share: float
    """Of the text's characters, 0 to 1."""


class Repetition(BuiltIn):
    """Fails where the output ends in a loop, by the rule of this module."""

    name = "repetition"
    exemplars = (
        Exemplar(
            check="repetition", text="1. Yes\n2. Yes\n3. Yes\n4. Yes\n5. Yes\n6. Yes\n7. Yes\n8. Yes\n", passes=True
        ),
        Exemplar(
            check="repetition", text="Sure. " + "I am not sure. " * 9, passes=False, says='"I am not sure." 9 times'
        ),
    )

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, self.name)
        super().__init__()

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        fault = self.fault(output)
        return self.failed(fault) if fault else self.passed("the output does not end in a loop")

    def fault(self, output: CheckInput) -> str:
        """What is wrong with an output; empty if nothing is."""
        loop = find_loop(output.text)
        if loop is None:
            return ""
        return (
            f"endless repetition: expected an end, found {excerpt(loop.unit)} {int(loop.repetitions)} times"
            f" back to back, {loop.share:.0%} of the output"
        )


def find_loop(text: str) -> Loop | None:
    """The loop that the text ends in, if the rule of this module calls it one. Linear in the length of the text.

    >>> loop = find_loop("A start. " + "I am not sure. " * 9)
    >>> loop.unit, int(loop.repetitions)
    ('I am not sure.', 9)
    >>> find_loop("one, two, three, four, five, six, seven, eight, nine, ten") is None
    True
    """
    if len(text) < LEAST_CHARACTERS:
        return None
    # A cut inside a character of several bytes leaves U+FFFD behind, which would end the repetition.
    backwards = " ".join(text.rstrip("\ufffd \t\r\n").split())[::-1]
    for length, period in _periodic_beginnings(backwards):
        if _is_loop(backwards[:period], length, len(backwards)):
            return Loop(
                unit=_readable(backwards[:period][::-1]), repetitions=length / period, share=length / len(backwards)
            )
    return None


def _readable(unit: str) -> str:
    """The unit as it would be written: from the start of a sentence, or of a word, on."""
    start = re.search(r"[.!?。！？] ?(?=.)", unit) or re.search(r" ", unit)
    return (unit[start.end() :] + unit[: start.end()]).strip() if start else unit


def _is_loop(unit: str, length: int, whole: int) -> bool:
    if length >= LONG_LOOP_CHARACTERS and length >= LONG_LOOP_REPETITIONS * len(unit):
        return True
    if length < LEAST_CHARACTERS or length < LEAST_SHARE * whole:
        return False
    return any(map(str.isalnum, unit)) or length >= min(RULED_LINE_CHARACTERS, RULED_LINE_SHARE * whole)


def _periodic_beginnings(text: str) -> Iterator[tuple[int, int]]:
    """Length and smallest period of each beginning that has at least four periods and cannot be made longer.

    By the prefix function of Knuth, Morris and Pratt: the longest border of a beginning is its length less its period.
    """
    borders = [0] * len(text)
    border, found = 0, (0, 0)
    for position in range(1, len(text)):
        char = text[position]
        while border and char != text[border]:
            border = borders[border - 1]
        if char == text[border]:
            border += 1
        borders[position] = border
        length = position + 1
        # The blank after the last unit is no longer there.
        if border and length + (text[length - border - 1] == " ") >= LEAST_REPETITIONS * (length - border):
            found = (length, length - border)
        elif found[0]:
            yield found
            found = (0, 0)
    if found[0]:
        yield found
