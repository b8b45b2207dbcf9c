"""``regex:PATTERN``: the output holds a match of a regular expression."""

from __future__ import annotations

import re

from ..errors import ConfigError
from ..records import CheckResult
from .arguments import cut_off, excerpt, require_argument
from .base import CheckInput


class Regex:
    r"""Passes where the pattern (syntax of Python's ``re``) matches anywhere; anchor it with ``\A`` and ``\Z``.

    Flags stand in the pattern: ``(?i)`` ignores case, ``(?s)`` lets ``.`` match newlines.
    """

    def __init__(self, argument: str = "") -> None:
        self._name = f"regex:{argument}"
        try:
            self._pattern = re.compile(require_argument(argument, r"regex:\d+"))
        except re.error as error:
            raise ConfigError(f"the pattern is not a regular expression: {error}.") from error

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        wanted = excerpt(self._pattern.pattern)
        if self._pattern.search(output.text):
            return CheckResult(name=self._name, passed=True, message=f"the output matches {wanted}")
        message = f"{cut_off(output)}expected a match of {wanted}, found {excerpt(output.text)}"
        return CheckResult(name=self._name, passed=False, message=message)
