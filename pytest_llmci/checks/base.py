"""What a check is: an assertion on the output of one cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..records import CheckResult, Prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckInput:
    """One distinct output of a cell, with what a check may want to know of it."""

    text: str
    finish_reason: str
    special_only: bool
    """True where the model produced tokens and all of them were special ones."""
    prompt: Prompt


class Check(Protocol):
    """Built as ``Factory(argument)`` from ``name`` or ``name:argument``; raises ConfigError on an argument it cannot read."""

    def __call__(self, output: CheckInput) -> CheckResult:
        """Judge one output."""
