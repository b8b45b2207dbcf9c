"""Box plot of latencies, one box a model, with every round as a dot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import INK, ORANGE, entitle
from .rows import (
    Row,
    cut,
    cut_words,
    draw_dots,
    lacking_words,
    legend_above,
    name_rows,
    noise_words,
    row_of,
    rows_inches,
    sentences,
    set_axis,
    value_axis,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .run_data import RunData

_WIDTH = 0.7


@dataclass(frozen=True, kw_only=True)
class LatencyBoxes:
    """Rows by rising median."""

    rows: tuple[Row, ...]
    models: int
    """How many have a latency, shown or not."""
    without: int = 0
    why: str = "no latency was measured"
    name: str = "latency-boxes"

    @classmethod
    def of(cls, data: RunData) -> LatencyBoxes:
        """Of a run."""
        import numpy as np

        found = [row for model in data.models if (row := row_of(model, "latency")) is not None]
        rows, models = cut(found, lambda row: float(np.median(row.values)))
        why = "" if rows else data.why_missing("latency")
        return cls(rows=tuple(rows), models=models, without=data.without("latency"), why=why)

    @property
    def inches(self) -> tuple[float, float]:
        return rows_inches(len(self.rows))

    def lacking(self) -> str:
        return "" if self.rows else self.why

    def draw(self, figure: Figure) -> None:
        scale = value_axis([row.values for row in self.rows], "s")
        axes = figure.add_subplot()
        draw_dots(axes, self.rows, scale)
        axes.boxplot(
            [scale(row.values) for row in self.rows], positions=range(len(self.rows)), widths=_WIDTH, showfliers=False,
            patch_artist=True, orientation="horizontal", manage_ticks=False,
            boxprops={"facecolor": "none", "edgecolor": INK, "linewidth": 1.2},
            whiskerprops={"color": INK, "linewidth": 1.0}, capprops={"color": INK, "linewidth": 1.0},
            medianprops={"color": ORANGE, "linewidth": 2.5},
        )  # fmt: skip
        set_axis(axes, "x", scale, "latency")
        name_rows(axes, [row.model for row in self.rows])
        legend_above(axes)
        entitle(
            figure,
            "Latency of every round",
            sentences(
                "Boxes: median, quartiles, and the farthest rounds within 1.5 box lengths, over all prompts together; every round"
                " is a dot.",
                noise_words(self.rows),
                cut_words(len(self.rows), self.models, "with the lowest median"),
                lacking_words(self.without, "a latency"),
            ),
        )
