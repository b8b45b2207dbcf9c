"""What is known of each cell before anything is tested: its effect and how uncertain that is.

The uncertainty has two parts. The one is the cell's own and falls with its rounds. The other is common to all cells that
ran in the same processes (or, against stored numbers, in the same session), so that averaging over cells does not help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .location import Floats
    from .samples import Ints

    Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimates:
    """Arrays over cells, ``[cells]``, on the scale of logarithms."""

    effect: Floats
    """log(candidate / base)."""
    own: Floats
    """Squared standard error of the cell's own noise."""
    own_freedom: Floats
    """Degrees of freedom of :attr:`own`, with what the other cells lend."""
    unaided_freedom: Floats
    """The same from the cell's own rounds alone: what several cells together have at least is the sum of these."""
    shared: Floats
    """Squared standard error that cells of one model have in common."""
    shared_freedom: float
    """Degrees of freedom of :attr:`shared`."""
    lasting: bool
    """Whether the shared error stays however many more rounds there are: those of stored sessions do."""
    across: float
    """Correlation of the shared error between models."""
    rounds: Ints
    """Rounds of the candidate; against one stored session of the side with fewer."""
    pairs: Ints
    """Fresh pairs of processes; 0 where nothing ran in pairs."""
    enough: Bools
    """Whether the cell has enough rounds to be judged at all."""


def joined_freedom(
    own: Floats, own_freedom: Floats, shared: Floats, shared_freedom: float, *, near_normal: Bools
) -> Floats:
    """Degrees of freedom of the sum of two independently estimated variances.

    Satterthwaite's formula credits the sum with up to as much freedom as both parts have together. That holds for normal
    noise. The tails of times are heavier, and with three rounds it gave 1.6 % false alarms instead of 1 %.

    :param near_normal: whether the noise of each is a mean over so many values that its tails are gone. There it is
        Satterthwaite's freedom, but no more than the better known part has; elsewhere the harmonic mean of both, weighted by
        their variances.
    Sources: Satterthwaite 1946; Cochran and Cox 1950, who weigh the critical values of t by the variances.
    """
    import numpy as np

    harmonic = (own + shared) / (own / own_freedom + shared / shared_freedom)
    full = (own + shared) ** 2 / (own**2 / own_freedom + shared**2 / shared_freedom)
    return np.where(near_normal, np.minimum(full, np.maximum(own_freedom, shared_freedom)), harmonic)
