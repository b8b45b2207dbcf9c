"""Box plot of scores, one box a benchmark, with every model as a dot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import BLUE, INK, ORANGE, finite, literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

WIDTH = 0.62


@dataclass(frozen=True, kw_only=True)
class ScoreBoxes:
    """How the scores of each benchmark are spread."""

    scores: Mapping[str, tuple[float | None, ...]]
    """Benchmark -> per cent, one a model; None where missing."""
    what: str = "rows"
    name: str = "scores"

    @property
    def inches(self) -> tuple[float, float]:
        return (max(6.0, 1.15 * len(self.scores) + 1.5), 5.0)

    def lacking(self) -> str:
        return "" if any(finite(values) for values in self.scores.values()) else "no score is known"

    def draw(self, figure: Figure) -> None:
        import numpy as np

        columns = {title: finite(values) for title, values in self.scores.items()}
        axes = figure.add_subplot()
        scatter = np.random.default_rng(0)  # sideways only, so that dots of one score do not hide each other
        places = range(1, len(columns) + 1)
        dots = max(0.15, min(0.6, 60 / max(map(len, columns.values()))))
        for place, values in zip(places, columns.values(), strict=True):
            sideways = place + scatter.uniform(-WIDTH / 2.4, WIDTH / 2.4, len(values))
            axes.plot(sideways, values, ".", color=BLUE, alpha=dots, markersize=4, markeredgewidth=0, rasterized=True)
        axes.boxplot(
            list(columns.values()), positions=list(places), widths=WIDTH, showfliers=False, patch_artist=True,
            boxprops={"facecolor": "none", "edgecolor": INK, "linewidth": 1.3},
            whiskerprops={"color": INK, "linewidth": 1.1}, capprops={"color": INK, "linewidth": 1.1},
            medianprops={"color": ORANGE, "linewidth": 2.5},
        )  # fmt: skip
        axes.set_xticks(list(places), [literal(f"{title}\nn = {len(values):,}") for title, values in columns.items()])
        axes.set_ylabel("score (per cent)")
        axes.grid(visible=False, axis="x")
        axes.set_title(literal(f"Scores: median, quartiles, 1.5 box lengths; every dot is one of the {self.what}"))
