"""``valid``: the check that every output gets by default."""

from __future__ import annotations

from ..records import CheckResult
from .arguments import refuse_argument
from .base import BuiltIn, CheckInput, Exemplar
from .emptiness import NonEmpty
from .loops import Repetition
from .specials import SpecialTokens


class Valid(BuiltIn):
    """Passes what is a non-empty text, not only special tokens, and no endless repetition."""

    name = "valid"
    asks_models = False
    exemplars = (
        Exemplar(check="valid", text="It is Paris.", passes=True),
        Exemplar(check="valid", text=" ", passes=False, says="the output is empty"),
        Exemplar(check="valid", text="</s>", passes=False, says="only special tokens"),
        Exemplar(check="valid", text="no " * 100, passes=False, says="endless repetition"),
    )

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, self.name)
        super().__init__()
        # Special tokens first: a text of nothing else is empty as well, and this is the better reason.
        self._faults = (SpecialTokens().fault, NonEmpty().fault, Repetition().fault)

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        for fault in self._faults:
            if found := fault(output):
                return self.failed(found)
        return self.passed("the output is valid")
