"""``non_empty``: the output holds something that can be seen."""

from __future__ import annotations

from ..records import CheckResult
from .arguments import refuse_argument
from .base import BuiltIn, CheckInput, Exemplar


class NonEmpty(BuiltIn):
    """Passes where at least one character is visible: white space, control and zero-width characters are not."""

    name = "non_empty"
    exemplars = (
        Exemplar(check="non_empty", text=" .\n", passes=True),
        Exemplar(check="non_empty", text="", passes=False, says="nothing at all"),
        Exemplar(check="non_empty", text=" \u200b\n", passes=False, says="3 invisible characters"),
    )

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, self.name)
        super().__init__()

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        fault = self.fault(output)
        return self.failed(fault) if fault else self.passed("the output is not empty")

    def fault(self, output: CheckInput) -> str:
        """What is wrong with an output; empty if nothing is."""
        text = output.text
        if text[:1].isalnum() or any(char.isprintable() and not char.isspace() for char in text):
            return ""
        found = f"{len(text)} invisible character{'' if len(text) == 1 else 's'}" if text else "nothing at all"
        return f"the output is empty: expected text, found {found}"
