"""``max_words:N``: the output is not longer than so many words."""

from __future__ import annotations

from ..errors import ConfigError
from ..records import CheckResult
from .arguments import excerpt, require_argument
from .base import CheckInput


class MaxWords:
    """Passes where the output has at most N words: runs of characters between white space.

    Scripts that put no blanks between words are not counted word by word.
    """

    def __init__(self, argument: str = "") -> None:
        text = require_argument(argument, "max_words:120").strip()
        if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
            raise ConfigError(
                f"'{text}' is not a number of words; write a whole number of at least 1, like 'max_words:120'."
            )
        self._most = int(text)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        name, words = f"max_words:{self._most}", len(output.text.split())
        if words <= self._most:
            return CheckResult(name=name, passed=True, message=f"the output has {words} of at most {self._most} words")
        message = f"expected at most {self._most} words, found {words}: {excerpt(output.text)}"
        return CheckResult(name=name, passed=False, message=message)
