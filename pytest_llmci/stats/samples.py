"""What two sides measured, checked and sorted into groups that numpy can work on.

Cells of an adaptive run have different numbers of rounds, as those that are certain stop early. Cells with the same
numbers of rounds in the same pairs of processes are judged together, as one array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .location import Floats

    Ints: TypeAlias = NDArray[np.intp]
    Rows: TypeAlias = Floats | Sequence[Floats | Sequence[float]]
    PairNumbers: TypeAlias = NDArray[np.int64] | Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Cells with equally many rounds, measured in the same pairs of processes."""

    cells: Ints
    """Positions among all cells, ``[c]``."""
    base: Floats
    """Logarithms, ``[c, n]``."""
    candidate: Floats
    """Logarithms, ``[c, m]``; of interleaved rounds number i belongs to number i of the base."""
    pairs: Ints
    """The pair of processes of each round of the candidate, counted from 0, ``[m]``."""

    @property
    def pair_count(self) -> int:
        """How many fresh pairs of processes the rounds are spread over."""
        return int(self.pairs.max()) + 1


def grouped(
    base: Rows,
    candidate: Rows,
    pairs: PairNumbers | None = None,
    names: Sequence[str] | None = None,
    *,
    interleaved: bool,
) -> list[Group]:
    """Cells in groups, in the order of their first member.

    :param base: ``[cells, rounds]`` or one sequence of rounds a cell, positive and finite.
    :param candidate: the same cells in the same order.
    :param pairs: the pair of processes of each round of the candidate: one sequence for all cells or one a cell; None
        stands for a single pair.
    :param names: of the cells, for the messages; they are numbered without.
    :param interleaved: whether round i of the candidate belongs to round i of the base.
    :raises ValueError: if the sides have different cells, a cell has no round, or a value is not positive and finite.
    """
    import numpy as np

    if len(base) != len(candidate):
        raise ValueError(f"base has {len(base)} cells and candidate {len(candidate)}: give both the same, in one order")
    if not len(base):
        raise ValueError("base and candidate have no cells: nothing to compare")
    groups = []
    for cells, one, other, numbers in _alike(base, candidate, pairs):
        _check(one, cells, "base", names)
        _check(other, cells, "candidate", names)
        if interleaved and one.shape != other.shape:
            raise ValueError(
                f"{cell_name(int(cells[0]), names)} has {one.shape[1]} rounds of the base and {other.shape[1]} of the "
                "candidate: interleaved rounds come in pairs; compare stored numbers with mode='saved'"
            )
        if numbers.shape != other.shape[1:]:
            cell = cell_name(int(cells[0]), names)
            raise ValueError(f"{cell} has {other.shape[1]} rounds and {numbers.size} pair numbers: give one a round")
        _, counted = np.unique(numbers, return_inverse=True)
        groups.append(Group(cells=cells, base=np.log(one), candidate=np.log(other), pairs=counted))
    return groups


def cell_name(cell: int, names: Sequence[str] | None) -> str:
    """How messages and results call a cell that may have no name."""
    return names[cell] if names is not None else f"cell {cell}"


def _alike(
    base: Rows, candidate: Rows, pairs: PairNumbers | None
) -> Iterator[tuple[Ints, Floats, Floats, NDArray[np.int64]]]:
    import numpy as np

    each = pairs is not None and len(pairs) > 0 and np.ndim(pairs[0]) > 0
    if isinstance(base, np.ndarray) and isinstance(candidate, np.ndarray) and not each:
        yield np.arange(len(base)), _floats(base), _floats(candidate), _numbers(pairs, candidate.shape[-1])
        return
    if each and pairs is not None and len(pairs) != len(base):
        raise ValueError(
            f"{len(base)} cells and {len(pairs)} sequences of pair numbers: give one a cell or one for all"
        )
    alike: dict[tuple[int, int, bytes], list[int]] = {}
    rows = [(_floats(one), _floats(other)) for one, other in zip(base, candidate, strict=True)]
    numbers = [
        _numbers(pairs[i] if each and pairs is not None else pairs, row.shape[-1]) for i, (_, row) in enumerate(rows)
    ]
    for cell, (one, other) in enumerate(rows):
        alike.setdefault((one.shape[-1], other.shape[-1], numbers[cell].tobytes()), []).append(cell)
    for cells in alike.values():
        yield (
            np.array(cells),
            np.stack([rows[cell][0] for cell in cells]),
            np.stack([rows[cell][1] for cell in cells]),
            numbers[cells[0]],
        )


def _floats(values: object) -> Floats:
    import numpy as np

    return np.atleast_1d(np.asarray(values, dtype=np.float64))


def _numbers(pairs: object, rounds: int) -> NDArray[np.int64]:
    import numpy as np

    return np.zeros(rounds, dtype=np.int64) if pairs is None else np.asarray(pairs, dtype=np.int64)


def _check(values: Floats, cells: Ints, side: str, names: Sequence[str] | None) -> None:
    import numpy as np

    if values.ndim != 2:
        raise ValueError(f"{side} has {values.ndim} dimensions: give [cells, rounds]")
    if values.shape[1] == 0:
        raise ValueError(f"{side} of {cell_name(int(cells[0]), names)} has no rounds: leave the cell out on both sides")
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        row, number = np.argwhere(wrong)[0]
        where = f"round {number + 1} of {cell_name(int(cells[row]), names)}"
        raise ValueError(f"{side}, {where} is {values[row, number]:g}: values must be positive and finite")
