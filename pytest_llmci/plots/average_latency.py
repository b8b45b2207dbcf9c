"""Average latency of each model, with its interval and every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..text import how_many
from .base import entitle
from .rows import (
    Row,
    cut,
    cut_words,
    draw_bars,
    draw_dots,
    draw_means,
    interval_words,
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


@dataclass(frozen=True, kw_only=True)
class AverageLatency:
    """Rows by rising mean."""

    rows: tuple[Row, ...]
    models: int
    """How many have a latency, shown or not."""
    without: int = 0
    """Models that have none."""
    why: str = "no latency was measured"
    name: str = "latency"

    @classmethod
    def of(cls, data: RunData) -> AverageLatency:
        """Of a run."""
        found = [row for model in data.models if (row := row_of(model, "latency")) is not None]
        rows, models = cut(found, lambda row: row.interval.mean)
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
        if not scale.logarithmic:
            draw_bars(axes, self.rows, scale)
        draw_dots(axes, self.rows, scale)
        draw_means(axes, self.rows, scale)
        set_axis(axes, "x", scale, "latency")
        name_rows(axes, [row.model for row in self.rows])
        legend_above(axes)
        entitle(
            figure,
            "Average latency",
            sentences(
                f"Diamonds: mean over {_counts(self.rows)}.",
                interval_words(self.rows),
                noise_words(self.rows),
                cut_words(len(self.rows), self.models, "with the lowest mean"),
                lacking_words(self.without, "a latency"),
            ),
        )


def _counts(rows: tuple[Row, ...]) -> str:
    counts = sorted({row.interval.n for row in rows})
    if len(counts) == 1:
        return f"the {how_many(counts[0], 'round')} of each model" if counts[0] > 1 else "a single round of each model"
    return f"{counts[0]:,} to {counts[-1]:,} rounds of each model"
