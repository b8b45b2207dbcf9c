"""Where a series of runs changed its level.

Segments are found by PELT with absolute deviations from each segment's median as cost, so that single outliers make no
change, by the library `ruptures`. The penalty of a further segment grows with the logarithm of the length. In simulations it
claimed a change in at most 0.5 % of unchanging series of 12 to 40 independent values, normal or with heavy tails (Student, three
degrees of freedom), and in up to 3 % where neighbours were correlated by 0.3. With four points behind it, a step of five
standard deviations was found in more than four of five series, one of three in fewer than half.

Source: Killick, Fearnhead and Eckley 2012 (PELT); Truong, Oudre and Vayatis 2020 (ruptures).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Final

from ..errors import MissingExtraError
from ..registry import missing_package

LEAST_POINTS: Final = 12
"""Fewer tell no change from chance."""
LEAST_SEGMENT: Final = 4
"""Points that a level must last to be one."""
MOST_POINTS: Final = 300
"""The newest that are looked at; more would take minutes."""
EXTRA: Final = "pytest-llmci[history]"
TOO_NEW: Final = (3, 14)
"""No release of ruptures up to 1.1.10 takes a Python of that version, so that the extra brings none there."""
_PENALTY: Final = 3.5
_LEAST_SD: Final = 0.002
"""As logarithm: medians that repeat to the digit are still no proof of such a clock."""
_NORMAL: Final = 0.6745 * math.sqrt(2)
"""Median of the absolute difference of two normal values over their standard deviation."""
_QUIET_SHARE: Final = 0.8
"""Of the differences between neighbours; the others may be changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangePoint:
    """A level that began."""

    index: int
    """Of its first point."""
    before: float
    """Median of the level that it ended."""
    after: float
    """Median of the new one."""

    @property
    def change(self) -> float:
        """Relative: 0.05 is 5 % more."""
        return self.after / self.before - 1


def find_change_points(values: Sequence[float]) -> list[ChangePoint]:
    """The change points of a series of positive values, oldest first.

    :raises ValueError: if there are fewer than :data:`LEAST_POINTS`, or a value is not positive and finite.
    :raises MissingExtraError: if ruptures is not installed.
    """
    if len(values) < LEAST_POINTS:
        raise ValueError(f"{len(values)} points: give at least {LEAST_POINTS}")
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError("values must be positive and finite")
    skipped = max(0, len(values) - MOST_POINTS)
    series = list(values[skipped:])
    breaks = _segments([math.log(value) for value in series])
    levels = [median(series[start:end]) for start, end in pairwise([0, *breaks, len(series)])]
    return [
        ChangePoint(index=skipped + place, before=before, after=after)
        for place, (before, after) in zip(breaks, pairwise(levels), strict=True)
    ]


def _segments(logs: Sequence[float]) -> list[int]:
    try:
        import ruptures
    except ModuleNotFoundError as error:
        if sys.version_info >= TOO_NEW:
            raise MissingExtraError(
                f"looking for change points needs the package 'ruptures', which takes no Python from {'.'.join(map(str, TOO_NEW))} on:"
                f" read the runs with an older one, and '{EXTRA}' there."
            ) from error
        raise missing_package("looking for change points", error.name or "ruptures", EXTRA) from error
    import numpy as np

    spread = noise(logs)
    middle = median(logs)
    signal: Any = np.array([[(value - middle) / spread] for value in logs])
    search = ruptures.Pelt(model="l1", min_size=LEAST_SEGMENT, jump=1).fit(signal)
    return [int(place) for place in search.predict(pen=_PENALTY * math.log(len(logs)))[:-1]]


def noise(logs: Sequence[float]) -> float:
    """Standard deviation of one point, from the differences between neighbours, which a few changes of level do not move."""
    steps = sorted(abs(later - earlier) for earlier, later in pairwise(logs))
    quiet = steps[: max(LEAST_SEGMENT - 1, int(_QUIET_SHARE * len(steps)))]
    return max(_LEAST_SD, median(steps) / _NORMAL, math.sqrt(sum(step**2 for step in quiet) / len(quiet) / 2))
