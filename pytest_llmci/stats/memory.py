"""Comparing peaks of memory and what is counted exactly: nearly deterministic, so one run decides.

The least peak of the repeats is compared, as what disturbs a peak (a garbage collector that came late, an allocator that
kept a page) only adds to it. No statistics: between processes of unchanged programs peaks vary by 0.05 to 0.2 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .compare import GateVerdict

RELATIVE_TOLERANCE: Final = 0.02
TOLERANCE_BYTES: Final = 8 << 20
"""Of peaks of a process."""
GROWTH_TOLERANCE_BYTES: Final = 1 << 20
"""Of what an answer takes in a memory pass, whose allocator keeps nothing and whose reading is exact to some hundred kilobytes."""
SPREADS: Final = 3.0
"""Tolerance in multiples of the spread between the base's own repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryChange:
    """How a peak, or what is counted, changed."""

    verdict: GateVerdict
    """Never ``inconclusive``."""
    base: float
    """The least of the repeats, in the unit of the values."""
    candidate: float
    tolerance: float
    """Growth up to this size is none, in the unit of the values: the smallest growth that could have been seen."""
    improved: bool
    """Whether it shrank by more than the tolerance."""

    @property
    def effect(self) -> float | None:
        """Relative change; None where the base is zero."""
        return self.candidate / self.base - 1 if self.base else None


def compare_memory(
    base: Sequence[float], candidate: Sequence[float], *, exact: bool = False, relative: float = RELATIVE_TOLERANCE,
    least_bytes: int = TOLERANCE_BYTES,
) -> MemoryChange:  # fmt: skip
    """Compare peaks of memory.

    :param base: bytes, one peak a repeat, each in a fresh process.
    :param exact: True for what is counted and never varies, such as bytes of tensors or of a file: any growth is a regression.
        Otherwise growth is one above the greatest of a share, ``least_bytes`` and three times the spread of the base's repeats.
    :param relative: that share; another one than 2 % takes the place of ``least_bytes`` as well.
    :raises ValueError: if a side is empty or holds a value that is negative or not finite.

    >>> mib = 2**20
    >>> compare_memory([1000 * mib, 1001 * mib], [1051 * mib]).verdict
    'regressed'
    >>> compare_memory([1000 * mib, 1001 * mib], [1019 * mib]).verdict
    'pass'
    """
    for values, side in ((base, "base"), (candidate, "candidate")):
        if not len(values) or not all(math.isfinite(value) and value >= 0 for value in values):
            raise ValueError(f"{side}: give at least one peak, all finite and not negative")
    least, peak = float(min(base)), float(min(candidate))
    spread = float(max(base)) - least
    floor = least_bytes if relative == RELATIVE_TOLERANCE else 0
    tolerance = 0.0 if exact else max(relative * least, floor, SPREADS * spread)
    return MemoryChange(
        verdict="regressed" if peak - least > tolerance else "pass",
        base=least,
        candidate=peak,
        tolerance=tolerance,
        improved=least - peak > tolerance,
    )
