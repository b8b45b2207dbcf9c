"""Scatter plot: size of a model against its average score, with their correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import BLUE, literal, size_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class SizeScore:
    """What size buys."""

    points: tuple[tuple[float | None, float | None], ...]
    """Billions of parameters and per cent, one pair a model; None where missing."""
    r: float | None
    """Pearson's r of the two; None where there is none."""
    score: str = "average score"
    what: str = "rows"
    name: str = "size-against-score"
    inches: tuple[float, float] = (8.0, 5.0)

    def _known(self) -> list[tuple[float, float]]:
        return [(size, score) for size, score in self.points if size is not None and size > 0 and score is not None]

    def lacking(self) -> str:
        return "" if self._known() else "in no row both the size and the score are known"

    def draw(self, figure: Figure) -> None:
        known = self._known()
        sizes, scores = [size for size, _ in known], [score for _, score in known]
        axes = figure.add_subplot()
        strength = max(0.15, min(0.9, 120 / len(known)))
        axes.plot(sizes, scores, "o", color=BLUE, alpha=strength, markersize=5, markeredgewidth=0, rasterized=True)
        size_axis(axes, min(sizes), max(sizes))
        axes.set_ylabel(literal(f"{self.score} (per cent)"))
        told = (
            f"Pearson's r = {self.r:.2f}" if self.r is not None else "no correlation: too few rows or a constant column"
        )
        left = len(self.points) - len(known)
        more = f"; {left:,} more lack one of the two" if left else ""
        axes.set_title(literal(f"Size and score: {told} ({len(known):,} {self.what}{more})"))
