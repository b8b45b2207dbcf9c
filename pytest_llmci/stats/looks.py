"""Error rates that all judgements of a session share, and how they are spent over looks at a growing sample.

Looking at the same rounds again as they come is testing again: each look gets a share of alpha, and the shares add up to
one (Bonferroni), so that the bound holds whatever the dependence between the looks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

SESSION_ALPHA: Final = 0.01
"""False failures that a session may have: with every budget exactly at its limit, or with nothing changed."""
PASS_ERROR_EARLY: Final = 0.01
"""How often a look may certify, and so stop measuring, a cell that lies on the limit."""
PASS_ERROR_LAST: Final = 0.05
"""The same for the last look, which stops measuring anyway."""
_SPENT: Final = ((0.0, 0.0), (0.25, 0.10), (0.50, 0.30), (0.75, 0.55), (1.0, 1.0))
"""Share of the looks that are over, share of alpha that is spent by then."""


def look_alpha(look: int, looks: int) -> float:
    """Share of alpha that may be spent at one look at the growing sample.

    :param look: from 0 to ``looks - 1``.
    :param looks: how many are planned.
    :returns: 10, 20, 25, 45 % for four looks, along the same curve for other numbers; the shares add up to 1.
    :raises ValueError: if there is no such look.

    >>> [round(look_alpha(look, 4), 2) for look in range(4)], look_alpha(0, 1)
    ([0.1, 0.2, 0.25, 0.45], 1.0)
    """
    if not 0 <= look < looks:
        raise ValueError(f"look {look} of {looks}")
    return spent_share((look + 1) / looks) - spent_share(look / looks)


def spent_share(over: float) -> float:
    """Share of alpha that may be spent when that share of the looks, or of the samples, is over."""
    for (left, low), (right, high) in pairwise(_SPENT):
        if over <= right:
            return low + (high - low) * (over - left) / (right - left)
    return 1.0
