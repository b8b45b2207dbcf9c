"""Which cells of two stored runs belong together."""

from __future__ import annotations

from dataclasses import dataclass

from ...store.comparability import Difference
from .run_differences import differing
from .stored_run import StoredCell, StoredRun


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One cell that both sides have."""

    id: str
    base: StoredCell
    candidate: StoredCell
    older: tuple[StoredCell, ...] = ()

    @property
    def differences(self) -> list[Difference]:
        """In what was asked."""
        return differing(self.base, self.candidate)


def pair_cells(base: StoredRun, candidate: StoredRun) -> tuple[list[Pair], list[StoredCell], list[StoredCell]]:
    """Cells of both runs, of the candidate alone, and of the base alone.

    Where several tests measured a cell, those of the same name belong together.
    """
    pairs: list[Pair] = []
    new: list[StoredCell] = []
    lost: list[StoredCell] = []
    for key, now in candidate.cells.items():
        before = base.cells.get(key, ())
        if len(before) == len(now) == 1:
            pairs.append(Pair(id=now[0].id, base=before[0], candidate=now[0]))
            continue
        by_test = {cell.test: cell for cell in before}
        for cell in now:
            there = by_test.pop(cell.test, None)
            if there is None:
                new.append(cell)
            else:
                pairs.append(
                    Pair(id=f"{cell.id} ({cell.test})" if len(now) > 1 else cell.id, base=there, candidate=cell)
                )
        lost += by_test.values()
    lost += [cell for key, cells in base.cells.items() if key not in candidate.cells for cell in cells]
    return pairs, new, lost
