"""``non_empty``: the output holds something that can be seen."""

from __future__ import annotations

from ..records import CheckResult
from .arguments import refuse_argument
from .base import CheckInput


class NonEmpty:
    """Passes where at least one character is visible: white space, control and zero-width characters are not."""

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, "non_empty")

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        text = output.text
        if text[:1].isalnum() or any(char.isprintable() and not char.isspace() for char in text):
            return CheckResult(name="non_empty", passed=True, message="the output is not empty")
        found = f"{len(output.text)} invisible characters" if output.text else "nothing at all"
        return CheckResult(name="non_empty", passed=False, message=f"the output is empty: expected text, found {found}")
