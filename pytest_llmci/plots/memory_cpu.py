"""Peak memory and CPU load of each model, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..stats.intervals import MeanInterval
from ..units import Unit
from .base import FAINT, entitle, literal
from .rows import (
    Row,
    cut,
    cut_words,
    draw_bars,
    draw_dots,
    draw_means,
    interval_words,
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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .run_data import RunData


@dataclass(frozen=True, kw_only=True)
class MemoryCpu:
    """Rows by rising memory; a model may have one of the two only."""

    names: tuple[str, ...]
    memory: tuple[Row | None, ...]
    cpu: tuple[Row | None, ...]
    models: int
    """How many have at least one of the two, shown or not."""
    why_no_memory: str = ""
    why_no_cpu: str = ""
    name: str = "memory-and-cpu"

    @classmethod
    def of(cls, data: RunData) -> MemoryCpu:
        """Of a run."""
        found = [(model.model, row_of(model, "peak_rss"), row_of(model, "cpu_percent")) for model in data.models]
        rows, models = cut((each for each in found if each[1] or each[2]), lambda each: _mean(each[1], each[2]))
        return cls(
            names=tuple(name for name, _, _ in rows),
            memory=tuple(memory for _, memory, _ in rows),
            cpu=tuple(cpu for _, _, cpu in rows),
            models=models,
            why_no_memory=data.why_missing("peak_rss"),
            why_no_cpu=data.why_missing("cpu_percent"),
        )

    @property
    def inches(self) -> tuple[float, float]:
        return rows_inches(len(self.names), 2)

    def lacking(self) -> str:
        return "" if self.names else f"{self.why_no_memory}; {self.why_no_cpu}"

    def draw(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        _panel(left, self.memory, "B", "peak memory of the process", self.why_no_memory)
        _panel(right, self.cpu, "%", "CPU, of the allowed cores", self.why_no_cpu)
        name_rows(left, self.names)
        right.tick_params(axis="y", labelleft=False, length=0)
        right.grid(visible=False, axis="y")
        legend_above(next((axes for axes in (left, right) if axes.lines), left))
        rows = [row for row in (*self.memory, *self.cpu) if row is not None]
        entitle(
            figure,
            "Memory and CPU",
            sentences(
                "Bars and diamonds: mean over the rounds.",
                interval_words(rows),
                noise_words([row for row in self.cpu if row is not None]),
                cut_words(len(self.names), self.models, "with the lowest memory"),
            ),
        )


def _mean(memory: Row | None, cpu: Row | None) -> float:
    """Models without memory come last, by their CPU."""
    return memory.interval.mean if memory else 1e18 + (cpu.interval.mean if cpu else 0)


def _panel(axes: Axes, rows: tuple[Row | None, ...], unit: Unit, words: str, why: str) -> None:
    known = [row for row in rows if row is not None]
    if not known:
        axes.text(0.5, 0.5, literal(why), transform=axes.transAxes, ha="center", va="center", wrap=True, fontsize=9)
        axes.set_xticks([])
        axes.set_xlabel(words)
        return
    scale = value_axis([row.values for row in known], unit, bars=True)
    placed = [row or _nothing(name) for row, name in zip(rows, map(str, range(len(rows))), strict=True)]
    draw_bars(axes, placed, scale)
    draw_dots(axes, placed, scale)
    draw_means(axes, placed, scale)
    for place, row in enumerate(rows):
        if row is None:
            axes.annotate("n/a", (0, place), xytext=(4, 0), textcoords="offset points", va="center", color=FAINT)
    set_axis(axes, "x", scale, words)


def _nothing(name: str) -> Row:
    import numpy as np

    nan = float("nan")
    return Row(
        model=name, values=np.empty(0), noisy=np.empty(0, dtype=np.bool_),
        interval=MeanInterval(n=0, mean=nan, low=None, high=None),
    )  # fmt: skip
