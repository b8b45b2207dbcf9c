"""An error that does not shrink with the value: next to nothing of a second, much of a few microseconds.

Relative errors of a few per cent hold for calls of milliseconds. A call of 4 µs that one process takes for 4 and its twin for 5 µs
is no slower: that is how well anything can be told there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .location import row_median

if TYPE_CHECKING:
    from .estimates import Estimates
    from .samples import Group


def with_value_sd(estimates: Estimates, groups: Sequence[Group], value_sd: float) -> Estimates:
    """The estimates with the error that each process adds to all of its values.

    :param groups: of the same cells, with both sides.
    :param value_sd: standard deviation between processes, in the unit of the values.
    """
    import numpy as np

    if not value_sd:
        return estimates
    shared = estimates.shared.copy()
    for group in groups:
        base, candidate = (value_sd / np.exp(row_median(side)) for side in (group.base, group.candidate))
        shared[group.cells] += (base**2 + candidate**2) / np.maximum(estimates.pairs[group.cells], 1)
    return replace(estimates, shared=shared)
