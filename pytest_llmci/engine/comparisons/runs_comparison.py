"""What came of a comparison of stored runs: by cell, by model, and as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ...metrics import MetricDef
from ...records import Comparability, ComparisonResult, Mode
from .slowdown import Slowdown
from .stored_run import StoredRun

WHOLE_CELL: Final = "cell"
"""Stands for a metric where all of a cell is meant."""
CHECKS: Final = "checks"
"""Stands for a metric: the share of cells whose answers passed all checks that both sides made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedCell:
    """One cell of either side."""

    id: str
    model: str
    prompt_id: str
    results: tuple[ComparisonResult, ...]
    outputs_changed: bool | None = None
    """Whether the candidate gave an answer that the reference never gave, or the other way round; None where one side has none."""
    outputs_settled: bool = False
    """Whether the reference was asked several times and always answered the same."""

    @property
    def verdict(self) -> Comparability:
        """The worst of its results."""
        return worst(self.results)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunsComparison:
    """What came of it."""

    base: tuple[StoredRun, ...]
    """Oldest first; the last one is the reference of all but times."""
    candidate: StoredRun
    mode: Mode
    metrics: Mapping[str, MetricDef]
    cells: tuple[ComparedCell, ...] = field(repr=False)
    """In the order of the candidate, then those that it lacks."""
    models: tuple[tuple[str, ComparisonResult], ...]
    """Alias -> one metric of the model as a whole."""
    changed: tuple[str, ...]
    """What differs in what was on trial: ``tiny: dtype: float32 -> bfloat16``."""
    hardware: tuple[str, ...]
    """How the machines differ; empty where they do not."""
    notes: tuple[str, ...]
    """What else has to be known, such as older runs that were left out."""
    by_run: bool = False
    """Whether both sides are several runs of another tool, each of which is a sample."""
    slowdowns: tuple[tuple[str, Slowdown], ...] = ()
    """Cell id -> where its calls became slower; of the first few whose time became worse."""

    @property
    def verdict(self) -> Comparability:
        """The worst of all."""
        return worst([*(result for cell in self.cells for result in cell.results), *(each for _, each in self.models)])

    @property
    def counts(self) -> dict[str, int]:
        """Verdict -> cells."""
        return dict(Counter(cell.verdict for cell in self.cells))

    @property
    def failed(self) -> bool:
        """Whether something became worse, or is not measured any more."""
        return self.verdict in ("regressed", "lost coverage")

    @property
    def undecided(self) -> bool:
        """Whether something could not be told."""
        return self.verdict in ("inconclusive", "not comparable")

    @property
    def changed_outputs(self) -> tuple[str, ...]:
        """Cells that answer otherwise."""
        return tuple(cell.id for cell in self.cells if cell.outputs_changed)


_ORDER: Final[tuple[Comparability, ...]] = (
    "regressed",
    "lost coverage",
    "inconclusive",
    "not comparable",
    "new",
    "pass",
)


def worst(results: Sequence[ComparisonResult]) -> Comparability:
    """The verdict that decides; an accepted regression is none."""
    found = {"pass" if result.accepted else result.verdict for result in results}
    return next((verdict for verdict in _ORDER if verdict in found), "pass")
