"""The effect of each cell where a block of rounds, and not a round, is what is independent of the others.

A server that limits rates or grows with its load answers for a while at one speed and then at another. Rounds that follow each
other are then alike, and to count each of them takes their common fate for evidence. Here every block (the rounds of one fresh
pair of processes) is one value, the location of its rounds, and what blocks differ by is all of the error.

Nothing is borrowed and nothing is cut: the blocks of a model's cells share their time, so that other cells know no better,
and a block far from the others is what such a server does. Below :data:`LEAST_BLOCKS` nothing is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .estimates import Estimates
from .interleaved import PROCESS_SD
from .location import robust_location

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .location import Floats
    from .samples import Group

LEAST_BLOCKS: Final = 4
"""Three blocks lie on one side by chance in one of four cases, and may then lie close together."""
LEAST_BLOCK_SD: Final = PROCESS_SD
"""Blocks are never taken to differ by less: few that happen to agree prove nothing."""
NEXT_TO_NOTHING: Final = 1e-12
"""Squared error that a cell has for itself: what its blocks differ by is shared with the model's other cells."""


def block_estimates(groups: Sequence[Group], count: int) -> Estimates:
    """Effects and their uncertainty.

    :param groups: of :func:`~pytest_llmci.stats.samples.grouped`, with equally many rounds on both sides.
    :param count: cells in all groups.
    """
    import numpy as np

    effect, shared = np.zeros(count), np.ones(count)
    rounds, pairs, enough = np.zeros(count, np.intp), np.zeros(count, np.intp), np.zeros(count, np.bool_)
    freedom = np.inf
    for group in groups:
        cells, blocks = group.cells, group.pair_count
        rounds[cells], pairs[cells], enough[cells] = group.pairs.size, blocks, blocks >= LEAST_BLOCKS
        values = _of_blocks(group)
        effect[cells] = values.mean(axis=1)
        if blocks >= LEAST_BLOCKS:
            shared[cells] = np.maximum(values.var(axis=1, ddof=1), LEAST_BLOCK_SD**2) / blocks
            freedom = min(freedom, blocks - 1.0)
    known = freedom if np.isfinite(freedom) else 1.0
    return Estimates(
        effect=effect,
        own=np.full(count, NEXT_TO_NOTHING),
        own_freedom=np.full(count, known),
        unaided_freedom=np.full(count, known),
        shared=shared,
        shared_freedom=known,
        lasting=False,
        across=1.0,
        rounds=rounds,
        pairs=pairs,
        enough=enough,
    )


def _of_blocks(group: Group) -> Floats:
    """log(candidate / base) of each block, ``[c, blocks]``."""
    import numpy as np

    change = group.candidate - group.base
    return np.stack([robust_location(change[:, group.pairs == pair]) for pair in range(group.pair_count)], axis=1)
