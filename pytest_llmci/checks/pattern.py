"""``regex:PATTERN``: the output holds a match of a regular expression."""

from __future__ import annotations

import re
import warnings

from ..errors import ConfigError
from ..records import CheckResult
from .arguments import cut_off, excerpt, require_argument
from .base import BuiltIn, CheckInput, Exemplar
from .time_limit import found


class Regex(BuiltIn):
    r"""Passes where the pattern (syntax of Python's ``re``) matches anywhere; anchor it with ``\A`` and ``\Z``.

    Flags stand in the pattern: ``(?i)`` ignores case, ``(?s)`` lets ``.`` match newlines. A search may take 2 s of CPU time.
    """

    name = "regex"
    exemplars = (
        Exemplar(check=r"regex:\b\d{4}\b", text="in 1969.", passes=True),
        Exemplar(check="regex:(?i)paris", text="PARIS", passes=True),
        Exemplar(check=r"regex:\A\d+\Z", text="in 1969.", passes=False, says="expected a match"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)  # a set that will mean something else one day
                self._pattern = re.compile(require_argument(argument, r"regex:\d+"))
        except (re.error, OverflowError, RecursionError, FutureWarning) as error:
            raise ConfigError(f"the pattern is not a regular expression: {error}.") from error

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        wanted = excerpt(self._pattern.pattern)
        if found(self._pattern, output.text):
            return self.passed(f"the output matches {wanted}")
        return self.failed(f"{cut_off(output)}expected a match of {wanted}, found {excerpt(output.text)}")
