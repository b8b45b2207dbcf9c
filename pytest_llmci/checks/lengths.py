"""``max_words:N`` and its kin: how long the output may be, in words, characters or tokens.

Words are runs of characters between white space: scripts that put no blanks between words are not counted word by word. Characters
are counted as Unicode composes them (NFC), without white space at both ends. Tokens are the model's own count of its answer.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from ..records import CheckResult
from .arguments import composed, cut_off, excerpt, read_count
from .base import BuiltIn, CheckInput, Exemplar


class Length(BuiltIn):
    """What the six have in common."""

    unit: ClassVar[Literal["words", "characters", "tokens"]]
    is_most: ClassVar[bool]
    example: ClassVar[int] = 120

    def __init__(self, argument: str = "") -> None:
        self._limit = read_count(argument, f"{self.name}:{self.example}")
        super().__init__(str(self._limit))

    def _count(self, output: CheckInput) -> int:
        if self.unit == "words":
            return len(output.text.split())
        if self.unit == "characters":
            return len(composed(output.text.strip()))
        return int(output.value("output_tokens"))

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        count, bound = self._count(output), "at most" if self.is_most else "at least"
        if (count <= self._limit) if self.is_most else (count >= self._limit):
            return self.passed(f"the output has {count} of {bound} {self._limit} {self.unit}")
        cut = "" if self.is_most else cut_off(output)
        return self.failed(f"{cut}expected {bound} {self._limit} {self.unit}, found {count}: {excerpt(output.text)}")


class MaxWords(Length):
    """Passes where the output has at most N words."""

    name, unit, is_most = "max_words", "words", True
    exemplars = (
        Exemplar(check="max_words:3", text="one two  three\n", passes=True),
        Exemplar(check="max_words:3", text="one two three four", passes=False, says="at most 3 words, found 4"),
    )


class MinWords(Length):
    """Passes where the output has at least N words."""

    name, unit, is_most = "min_words", "words", False
    exemplars = (
        Exemplar(check="min_words:3", text="one two three", passes=True),
        Exemplar(check="min_words:3", text="one two", passes=False, says="at least 3 words, found 2"),
        Exemplar(check="min_words:3", text="one", passes=False, finish_reason="length", says="cut off"),
    )


class MaxChars(Length):
    """Passes where the output has at most N characters."""

    name, unit, is_most, example = "max_chars", "characters", True, 280
    exemplars = (
        Exemplar(check="max_chars:4", text=" cafe\u0301\n", passes=True),
        Exemplar(check="max_chars:4", text="coffee", passes=False, says="at most 4 characters, found 6"),
    )


class MinChars(Length):
    """Passes where the output has at least N characters."""

    name, unit, is_most, example = "min_chars", "characters", False, 20
    exemplars = (
        Exemplar(check="min_chars:2", text="\u4f60\u597d", passes=True),
        Exemplar(check="min_chars:5", text=" cafe\u0301\n", passes=False, says="at least 5 characters, found 4"),
    )


class MaxTokens(Length):
    """Passes where the model counted at most N tokens in its answer."""

    name, unit, is_most, example = "max_tokens", "tokens", True, 64
    exemplars = (
        Exemplar(check="max_tokens:3", text="It is Paris", values={"output_tokens": 3}, passes=True),
        Exemplar(check="max_tokens:3", text="It is Paris.", values={"output_tokens": 4}, passes=False, says="found 4"),
        Exemplar(check="max_tokens:3", text="It is Paris.", passes=False, says="output_tokens is missing"),
    )


class MinTokens(Length):
    """Passes where the model counted at least N tokens in its answer."""

    name, unit, is_most, example = "min_tokens", "tokens", False, 8
    exemplars = (
        Exemplar(check="min_tokens:3", text="It is Paris", values={"output_tokens": 3}, passes=True),
        Exemplar(check="min_tokens:3", text="Paris", values={"output_tokens": 1}, passes=False, says="found 1"),
    )
