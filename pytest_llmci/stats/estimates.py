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
    across: float
    """Correlation of the shared error between models."""
    rounds: Ints
    """Rounds of the candidate."""
    pairs: Ints
    """Fresh pairs of processes; 0 where nothing ran in pairs."""
    enough: Bools
    """Whether the cell has enough rounds to be judged at all."""


def joined_freedom(own: Floats, own_freedom: Floats, shared: Floats, shared_freedom: float) -> Floats:
    """Degrees of freedom of the sum of two independently estimated variances: their harmonic mean, weighted by the sizes.

    Satterthwaite's formula credits the sum with more freedom than either part where they are of equal size. That holds for
    normal noise; the tails of times are heavier, and with three rounds it gave 1.6 % false alarms instead of 1.

    Source: after Cochran and Cox 1950, who weigh the critical values of t in the same way.
    """
    import numpy as np

    return np.asarray((own + shared) / (own / own_freedom + shared / shared_freedom))
