"""``starts_with:TEXT`` and ``ends_with:TEXT``; white space around the output does not count."""

from __future__ import annotations

from ..records import CheckResult
from .arguments import composed, cut_off, excerpt, require_argument
from .base import BuiltIn, CheckInput, Exemplar


class StartsWith(BuiltIn):
    """Passes where the output begins with the text, upper and lower case distinguished."""

    name = "starts_with"
    exemplars = (
        Exemplar(check="starts_with:Dear", text="\n Dear Ada,", passes=True),
        Exemplar(check="starts_with:Dear", text="My dear Ada,", passes=False, says='begin with "Dear"'),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._wanted = composed(require_argument(argument.lstrip(), f"{self.name}:Dear"))

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        if composed(output.text.lstrip()).startswith(self._wanted):
            return self.passed(f"the output begins with {excerpt(self._wanted)}")
        return self.failed(f"expected the output to begin with {excerpt(self._wanted)}, found {excerpt(output.text)}")


class EndsWith(BuiltIn):
    """Passes where the output ends with the text, upper and lower case distinguished."""

    name = "ends_with"
    exemplars = (
        Exemplar(check="ends_with:.", text="It is Paris. \n", passes=True),
        Exemplar(check="ends_with:.", text="It is Paris", passes=False, says='end with "."'),
        Exemplar(check="ends_with:.", text="It is", passes=False, finish_reason="length", says="cut off"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._wanted = composed(require_argument(argument.rstrip(), f"{self.name}:."))

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        text = composed(output.text.rstrip())
        if text.endswith(self._wanted):
            return self.passed(f"the output ends with {excerpt(self._wanted)}")
        end = text[-40:].lstrip()
        shown = f"its end {excerpt(end)}" if len(text) > 40 else excerpt(text)
        return self.failed(f"{cut_off(output)}expected the output to end with {excerpt(self._wanted)}, found {shown}")
