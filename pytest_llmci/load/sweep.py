"""Looking for the highest rate that keeps an objective: doubling until a rate misses it, then halving the gap.

The gap is halved as a ratio, so that the number of steps depends on the resolution and not on the size of the rates. A rate at which the
generator itself could not keep up tells nothing of the server, and ends the search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from ..units import format_rate

STEP: Final = 2.0
"""Factor between two rates as long as all have kept it: the server is never offered more than twice what it kept."""


@dataclass(slots=True)
class Search:
    """What was tried, and what is to be tried next."""

    low: float
    high: float
    resolution: float
    """The search ends with ``missed / kept <= 1 + resolution``."""
    kept: float | None = None
    """The highest rate that did."""
    missed: float | None = None
    """The lowest that did not."""
    unknown: float | None = None
    """A rate at which the generator could not keep up."""
    tried: list[float] = field(default_factory=list)

    def next(self) -> float | None:
        """The rate to try; None where the search is over."""
        if self.unknown is not None:
            return None
        if self.kept is None:
            return None if self.missed is not None else self.low
        if self.missed is None:
            return None if self.kept >= self.high else min(self.kept * STEP, self.high)
        if self.missed <= self.kept * (1 + self.resolution):
            return None
        return float(f"{math.sqrt(self.kept * self.missed):.4g}")

    def tell(self, rate: float, kept: bool | None) -> None:
        """What came of a rate.

        :param kept: None where the generator could not keep up.
        """
        self.tried.append(rate)
        if kept is None:
            self.unknown = rate
        elif kept:
            self.kept = rate
        else:
            self.missed = rate

    @property
    def ended(self) -> str:
        """How the search ended, for people."""
        beyond = (
            "" if self.unknown is None else f"at {format_rate(self.unknown)} /s the generator itself could not keep up"
        )
        if self.kept is None:
            return beyond or f"not even {format_rate(self.low)} /s kept the objective"
        kept = f"{format_rate(self.kept)} /s kept the objective"
        if beyond:
            return f"{kept}; {beyond}, so the server may stand more"
        return (
            f"{kept}, the end of the search"
            if self.missed is None
            else f"{kept}, {format_rate(self.missed)} /s did not"
        )
