"""``equals:TEXT`` and ``iequals:TEXT``: the output is that text; without one, the prompt's reference.

White space at both ends does not count; letters with accents are compared as Unicode composes them (NFC).
"""

from __future__ import annotations

from typing import ClassVar

from ..records import CheckResult
from .arguments import composed, cut_off, excerpt, folded
from .base import BuiltIn, CheckInput, Exemplar


class Equals(BuiltIn):
    """Passes where the output is the text, upper and lower case distinguished."""

    name = "equals"
    ignores_case: ClassVar[bool] = False
    exemplars: ClassVar[tuple[Exemplar, ...]] = (
        Exemplar(check="equals:Paris", text=" Paris\n", passes=True),
        Exemplar(check="equals", text="Paris", reference="Paris", passes=True),
        Exemplar(check="equals:Paris", text="PARIS", passes=False, says="another case"),
        Exemplar(check="equals:Paris", text="Paris.", passes=False, says='expected "Paris"'),
        Exemplar(check="equals", text="Paris", passes=False, says="no reference"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._wanted = argument if argument.strip() else None
        self.needs_reference = self._wanted is None

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        wanted, found = output.reference(self._wanted).strip(), output.text.strip()
        same = folded if self.ignores_case else composed
        if same(wanted) == same(found):
            return self.passed(f"the output is {excerpt(wanted)}")
        near = " (it is that in another case)" if folded(wanted) == folded(found) else ""
        how = ", in any case" if self.ignores_case else ""
        return self.failed(
            f"{cut_off(output)}expected {excerpt(wanted)}{how} and nothing else, found {excerpt(found)}{near}"
        )


class EqualsIgnoringCase(Equals):
    """Passes where the output is the text, whatever the case of its letters."""

    name = "iequals"
    ignores_case = True
    exemplars = (
        Exemplar(check="iequals:paris", text="PARIS", passes=True),
        Exemplar(check="iequals:paris", text="Paris!", passes=False, says="in any case"),
    )
