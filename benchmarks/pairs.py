"""What all benchmarks share: sides that are measured in turn, their ratios with an interval, figures beside their targets.

The sides of a comparison run one after the other, forwards in one round and backwards in the next (A B B A), so that a
drift of the machine meets all of them alike, and are compared round by round. One of them stands there twice: what the two
differ by (A/A) is what the comparison shows where there is no difference.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """One side over another, by the median of their rounds' ratios."""

    median: float
    low: float
    """Lower end of the 95 % bootstrap interval of that median."""
    high: float

    def __str__(self) -> str:
        return f"{self.median:.4f}x ({self.low:.4f} to {self.high:.4f})"

    def overlaps(self, other: Ratio) -> bool:
        """Whether the two intervals have a value in common."""
        return self.low <= other.high and other.low <= self.high


def in_turn(sides: Mapping[str, Callable[[], T]], rounds: int, *, warm: bool = False) -> dict[str, list[T]]:
    """What each side gave, by round, after one round that does not count.

    :param warm: no such round is needed: everything that is used has been used before.
    """
    for call in () if warm else sides.values():
        call()
    names = list(sides)
    found: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(sides[name]())
        show_progress(f"round {number + 1} of {rounds}", last=number + 1 == rounds)
    return found


def paired_ratio(values: Sequence[float], reference: Sequence[float]) -> Ratio:
    """One side over another; both of the same rounds.

    :raises ValueError: if they are not of equally many.
    """
    ratios = [one / other for one, other in zip(values, reference, strict=True)]
    low, high = median_interval(ratios)
    return Ratio(median=statistics.median(ratios), low=low, high=high)


def median_interval(values: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """Percentile bootstrap interval, 95 %, of the median."""
    chance = random.Random(seed)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]


def judged(what: str, value: float, limit: float, unit: str, *, at_least: bool = False) -> tuple[str, bool]:
    """A line that puts a figure beside its target, and whether the target is met.

    :param limit: what the figure must not be above; with ``at_least``, below.
    """
    met = value >= limit if at_least else value <= limit
    bound = ">= " if at_least else ""
    return f"  {what:<54}{value:>11.4g} {unit:<3} target {bound}{limit:g} {unit:<3} {'met' if met else 'MISSED'}", met


class Targets:
    """Figures of one script, printed beside their targets as they come."""

    def __init__(self) -> None:
        self._met: list[bool] = []
        self._all_judged = True

    def judge(self, what: str, value: float, limit: float, unit: str, *, at_least: bool = False) -> None:
        """Print a figure and remember whether it meets its target."""
        line, met = judged(what, value, limit, unit, at_least=at_least)
        print(line)
        self._met.append(met)

    def judge_true(self, what: str, met: bool) -> None:
        """As :meth:`judge`, for a target that is no limit."""
        print(f"  {what:<54}{'yes' if met else 'no':>11}     target yes     {'met' if met else 'MISSED'}")
        self._met.append(met)

    def judge_ratio(self, what: str, seen: Ratio, control: Ratio, limit: float) -> None:
        """Judge how far a ratio is from 1, in per cent, unless the noise alone is as large.

        :param control: the same of the A/A control; one that scatters more than the limit decides nothing.
        :param limit: in per cent.
        """
        noise = 50 * (control.high - control.low)
        if noise > limit:
            self.refuse(what, f"{100 * (seen.median - 1):+.2f} %, but the A/A control scatters by {noise:.1f} %")
        else:
            self.judge(what, 100 * abs(seen.median - 1), limit, "%")

    def refuse(self, what: str, why: str) -> None:
        """Say that a figure cannot be judged here and now."""
        print(f"  {what:<54} NOT JUDGED: {why}")
        self._all_judged = False

    def status(self, *, check: bool) -> int:
        """Exit status of the script; with ``--check`` 1 if a target was missed, else 2 if one could not be judged."""
        if not check:
            return 0
        if not all(self._met):
            return 1
        return 0 if self._all_judged else 2


def machine_line() -> str:
    """What the figures depend on."""
    load = f", load average {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}{load}"


def show_progress(text: str, *, last: bool) -> None:
    """One line that is overwritten, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="\n" if last else "", file=sys.stderr, flush=True)
