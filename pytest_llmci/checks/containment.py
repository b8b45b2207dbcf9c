"""``contains:TEXT`` and its kin: the output holds a text, any of several, or all of them; upper and lower case distinguished or not.

Letters with accents are compared as Unicode composes them (NFC), case by full case folding.
"""

from __future__ import annotations

from typing import ClassVar

from ..records import CheckResult
from .arguments import composed, cut_off, excerpt, folded, listed, read_texts, require_argument
from .base import BuiltIn, CheckInput, Exemplar


class Contains(BuiltIn):
    """Passes where the text occurs as written, upper and lower case distinguished."""

    name = "contains"
    exemplars = (
        Exemplar(check="contains:Paris", text="It is Paris.", passes=True),
        Exemplar(check="contains:caf\u00e9", text="the cafe\u0301 opposite", passes=True),
        Exemplar(check="contains:Paris", text="It is PARIS.", passes=False, says="in another case"),
        Exemplar(check="contains:Paris", text="It is Lyon.", passes=False, says='expected "Paris"'),
        Exemplar(check="contains:Paris", text="The capital of", passes=False, finish_reason="length", says="cut off"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._wanted = require_argument(argument, f"{self.name}:Paris")

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        if composed(self._wanted) in composed(output.text):
            return self.passed(f"the output contains {excerpt(self._wanted)}")
        near = " (it does in another case)" if folded(self._wanted) in folded(output.text) else ""
        return self.failed(
            f"{cut_off(output)}expected {excerpt(self._wanted)} in the output{near}, found {excerpt(output.text)}"
        )


class ContainsIgnoringCase(BuiltIn):
    """Passes where the text occurs, whatever the case of its letters."""

    name = "icontains"
    exemplars = (
        Exemplar(check="icontains:paris", text="It is PARIS.", passes=True),
        Exemplar(check="icontains:STRASSE", text="in der Stra\u00dfe", passes=True),
        Exemplar(check="icontains:paris", text="It is Lyon.", passes=False, says="in any case"),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._wanted = require_argument(argument, f"{self.name}:Paris")

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        if folded(self._wanted) in folded(output.text):
            return self.passed(f"the output contains {excerpt(self._wanted)}")
        return self.failed(
            f"{cut_off(output)}expected {excerpt(self._wanted)} in the output, in any case, found {excerpt(output.text)}"
        )


class ContainsAny(BuiltIn):
    """Passes where at least one of the texts occurs."""

    name = "contains_any"
    ignores_case: ClassVar[bool] = False
    exemplars: ClassVar[tuple[Exemplar, ...]] = (
        Exemplar(check="contains_any:Paris, Lutetia", text="It was Lutetia.", passes=True),
        Exemplar(check='contains_any:["Paris, France","Lutetia"]', text="It is Paris, Texas.", passes=False),
        Exemplar(
            check="contains_any:Paris,Lutetia", text="It is Lyon.", passes=False, says='any of "Paris", "Lutetia"'
        ),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._wanted = read_texts(argument, f'{self.name}:["Paris","Lutetia"]')
        self._same = folded if self.ignores_case else composed
        self._how = ", in any case" if self.ignores_case else ""

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        text = self._same(output.text)
        found = next((wanted for wanted in self._wanted if self._same(wanted) in text), None)
        if found is not None:
            return self.passed(f"the output contains {excerpt(found)}")
        return self.failed(
            f"{cut_off(output)}expected any of {listed(self._wanted)} in the output{self._how}, found {excerpt(output.text)}"
        )


class ContainsAnyIgnoringCase(ContainsAny):
    """Passes where at least one of the texts occurs, whatever the case of its letters."""

    name = "icontains_any"
    ignores_case = True
    exemplars = (
        Exemplar(check="icontains_any:paris,lutetia", text="It was LUTETIA.", passes=True),
        Exemplar(check="icontains_any:paris,lutetia", text="It is Lyon.", passes=False, says="in any case"),
    )


class ContainsAll(BuiltIn):
    """Passes where each of the texts occurs, in any order."""

    name = "contains_all"
    ignores_case: ClassVar[bool] = False
    exemplars: ClassVar[tuple[Exemplar, ...]] = (
        Exemplar(check="contains_all:TCP, UDP", text="UDP is faster, TCP is reliable.", passes=True),
        Exemplar(check="contains_all:TCP,UDP,QUIC", text="TCP and UDP.", passes=False, says='"QUIC" is not there'),
    )

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self._wanted = read_texts(argument, f'{self.name}:["TCP","UDP"]')
        self._same = folded if self.ignores_case else composed
        self._how = ", in any case" if self.ignores_case else ""

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        text = self._same(output.text)
        lacking = [wanted for wanted in self._wanted if self._same(wanted) not in text]
        if not lacking:
            return self.passed(f"the output contains {listed(self._wanted)}")
        verb = "is" if len(lacking) == 1 else "are"
        return self.failed(
            f"{cut_off(output)}expected all of {listed(self._wanted)} in the output{self._how}; {listed(lacking)} {verb} not there,"
            f" found {excerpt(output.text)}"
        )


class ContainsAllIgnoringCase(ContainsAll):
    """Passes where each of the texts occurs, whatever the case of their letters."""

    name = "icontains_all"
    ignores_case = True
    exemplars = (
        Exemplar(check="icontains_all:tcp,udp", text="UDP is faster, TCP is reliable.", passes=True),
        Exemplar(check="icontains_all:tcp,udp", text="TCP.", passes=False, says='"udp" is not there'),
    )
