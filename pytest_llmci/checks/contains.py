"""``contains:TEXT``: the output holds a text."""

from __future__ import annotations

from ..records import CheckResult
from .arguments import cut_off, excerpt, require_argument
from .base import CheckInput


class Contains:
    """Passes where the text occurs as written, upper and lower case distinguished."""

    def __init__(self, argument: str = "") -> None:
        self._wanted = require_argument(argument, "contains:Paris")
        self._name = f"contains:{argument}"

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        if self._wanted in output.text:
            return CheckResult(name=self._name, passed=True, message=f"the output contains {excerpt(self._wanted)}")
        near = " (it does in another case)" if self._wanted.casefold() in output.text.casefold() else ""
        message = f"{cut_off(output)}expected {excerpt(self._wanted)} in the output{near}, found {excerpt(output.text)}"
        return CheckResult(name=self._name, passed=False, message=message)
