"""``valid``: the check that every output gets by default."""

from __future__ import annotations

from ..records import CheckResult
from .arguments import refuse_argument
from .base import CheckInput
from .non_empty import NonEmpty
from .repetition import Repetition
from .special_tokens import SpecialTokens


class Valid:
    """Passes what is a non-empty text, not only special tokens, and no endless repetition."""

    def __init__(self, argument: str = "") -> None:
        refuse_argument(argument, "valid")
        # Special tokens first: a text of nothing else is empty as well, and this is the better reason.
        self._parts = (SpecialTokens(), NonEmpty(), Repetition())

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
        for part in self._parts:
            result = part(output)
            if not result.passed:
                return CheckResult(name="valid", passed=False, message=result.message)
        return CheckResult(name="valid", passed=True, message="the output is valid")
