"""What plots with a row for each model share: which rows there are, their names, dots for rounds, marks for means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from ..stats.intervals import LEVEL, MeanInterval, mean_interval
from ..text import how_many, sentence, told_noisy
from ..units import Unit, axis_scale
from .base import BLUE, FAINT, INK, VERMILION, labels
from .run_data import ModelRounds, RunData

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ..stats.location import Floats

MOST_ROWS: Final = 50
"""Models that a figure shows."""
DENSE: Final = 24
"""Rows from which on letters and marks are smaller."""
LOG_FROM: Final = 25.0
"""Greatest over least number from which on an axis is logarithmic: the small ones could not be told apart."""
CLOUD: Final = 4000
"""Dots from which on they are a picture within the SVG, which would be large otherwise."""
_HEIGHT: Final = 0.62
"""Of the strip that the dots of a row are scattered over, in rows."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one model."""

    model: str
    values: Floats = field(repr=False)
    """Every round that has it, SI."""
    noisy: NDArray[np.bool_] = field(repr=False)
    interval: MeanInterval


def row_of(model: ModelRounds, metric: str) -> Row | None:
    """None where no round of the model has the metric."""
    import numpy as np

    column = model.columns[metric]
    known = np.isfinite(column)
    if not known.any():
        return None
    interval = mean_interval(column[known], model.cell[known])
    return Row(model=model.model, values=column[known], noisy=model.noisy[known], interval=interval)


T = TypeVar("T")


def cut(items: Iterable[T], key: Callable[[T], float], most: int = MOST_ROWS) -> tuple[list[T], int]:
    """The items with the least keys, by rising key, and how many there were in all."""
    ordered = sorted(items, key=key)
    return ordered[:most], len(ordered)


def rows_inches(rows: int, panels: float = 1.0) -> tuple[float, float]:
    """Size of a figure with so many rows."""
    return (8.0 if panels <= 1 else 10.0, 1.75 + rows * (0.42 if rows <= 8 else 0.3 if rows <= DENSE else 0.215))


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """The first model on top."""
    axes.set_yticks(range(len(names)), labels(names), fontsize=9 if len(names) <= DENSE else 7.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueAxis:
    """How numbers lie on an axis."""

    factor: float
    """How many of SI one of the axis is."""
    unit: str
    logarithmic: bool

    def __call__(self, values: Floats) -> Floats:
        return values / self.factor


def value_axis(values: Sequence[Floats] | Sequence[list[float]], unit: Unit, *, bars: bool = False) -> ValueAxis:
    """The axis that these numbers ask for; that of bars is never logarithmic, since a bar begins at zero.

    :param values: SI, at least one number.
    """
    import numpy as np

    joined = np.concatenate([np.asarray(part, dtype=np.float64) for part in values])
    highest = float(joined.max())
    logarithmic = not bars and float(joined.min()) > 0 and highest / float(joined.min()) > LOG_FROM
    at = math.sqrt(highest * float(joined.min())) if logarithmic else highest
    factor, name = axis_scale(at, unit)
    return ValueAxis(factor=factor, unit=name, logarithmic=logarithmic)


def set_axis(axes: Axes, which: str, scale: ValueAxis, words: str) -> None:
    """Scale, limits and name of an axis; a linear one begins at zero.

    :param which: ``x`` or ``y``.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    named = f"{words} ({scale.unit})" if scale.unit else words
    if scale.logarithmic:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        low, high = sorted(axes.dataLim.intervalx if which == "x" else axes.dataLim.intervaly)
        few = high / low < 200
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.7g}"))
        axis.set_minor_formatter(NullFormatter())
        named += ", logarithmic axis"
    else:
        (axes.set_xlim if which == "x" else axes.set_ylim)(0, None)
    (axes.set_xlabel if which == "x" else axes.set_ylabel)(named)


def draw_dots(axes: Axes, rows: Sequence[Row], scale: ValueAxis, *, strip: float = _HEIGHT, shift: float = 0.0) -> None:
    """Every round as a dot, scattered within its row so that equal ones do not hide each other; noisy ones as crosses."""
    import numpy as np

    scatter = np.random.default_rng(0)
    sizes = [len(row.values) for row in rows]
    places = np.repeat(np.arange(len(rows)), sizes) + scatter.uniform(-strip / 2, strip / 2, sum(sizes)) + shift
    values = scale(np.concatenate([row.values for row in rows]))
    noisy = np.concatenate([row.noisy for row in rows])
    dense = len(rows) > DENSE
    axes.plot(
        values[~noisy], places[~noisy], "o", color=BLUE, alpha=dot_strength(max(sizes)), markersize=2.2 if dense else 3.4,
        markeredgewidth=0, rasterized=len(values) > CLOUD, label="a round",
    )  # fmt: skip
    if noisy.any():
        axes.plot(
            values[noisy], places[noisy], "x", color=VERMILION, markersize=3 if dense else 5, markeredgewidth=1.1,
            rasterized=int(noisy.sum()) > CLOUD, label="a noisy round",
        )  # fmt: skip


def dot_strength(dots: int) -> float:
    """Opacity of so many dots in one place."""
    return max(0.25, min(0.75, 30 / dots))


def draw_means(axes: Axes, rows: Sequence[Row], scale: ValueAxis, *, shift: float = 0.0) -> None:
    """The mean of each row with its interval."""
    dense = len(rows) > DENSE
    for place, row in enumerate(rows):
        low, high = row.interval.low, row.interval.high
        if low is not None and high is not None:
            ends = [
                max(low, float(row.values.min()) / 2 if scale.logarithmic else 0.0) / scale.factor,
                high / scale.factor,
            ]
            axes.plot(
                ends, [place + shift] * 2, color=INK, linewidth=1.6 if dense else 2.4, solid_capstyle="butt", zorder=3
            )
            axes.plot(
                ends, [place + shift] * 2, "|", color=INK, markersize=5 if dense else 9, markeredgewidth=1.4, zorder=3
            )
    axes.plot(
        [row.interval.mean / scale.factor for row in rows], [place + shift for place in range(len(rows))], "D",
        color="white", markeredgecolor=INK, markersize=4 if dense else 6, markeredgewidth=1.4, zorder=4, label="mean",
    )  # fmt: skip


def legend_above(axes: Axes, *, columns: int = 4) -> None:
    """What the marks mean, between title and axes."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=8, borderaxespad=0.2,
        handletextpad=0.3, columnspacing=1.2,
    )  # fmt: skip


def draw_bars(axes: Axes, rows: Sequence[Row], scale: ValueAxis) -> None:
    """A bar from zero to each mean."""
    means = [row.interval.mean / scale.factor for row in rows]
    axes.barh(range(len(rows)), means, height=0.7, color="#CFE3F0", edgecolor=FAINT, linewidth=0.5, zorder=1)


# ------------------------------------------------------------------------------------------------------------- captions


def interval_words(rows: Sequence[Row]) -> str:
    """What the interval around a mean is, or why there is none."""
    having = [row for row in rows if row.interval.low is not None]
    if not having:
        return "No interval: it needs two rounds of every prompt."
    words = (
        f"Lines: {LEVEL * 100:.0f} % t interval of the mean for these prompts, from the spread of the rounds of each prompt within this"
        " session."
    )
    lacking = len(rows) - len(having)
    return f"{words} None for {how_many(lacking, 'model')} with a single round of a prompt." if lacking else words


def noise_words(rows: Sequence[Row]) -> str:
    """How many rounds are noisy."""
    noisy = sum(int(row.noisy.sum()) for row in rows)
    total = sum(len(row.noisy) for row in rows)
    return f"{sentence(told_noisy(noisy, total, past=False))} (crosses)." if noisy else ""


def run_noise(data: RunData) -> str:
    """How many rounds are noisy, where no round is drawn."""
    noisy = sum(int(model.noisy.sum()) for model in data.models)
    total = sum(map(len, data.models))
    return f"{sentence(told_noisy(noisy, total, past=False))}." if noisy else ""


def cut_words(shown: int, total: int, which: str) -> str:
    """Which models of how many are shown; empty where all are."""
    return f"The {shown} {which} of {total:,} models." if shown < total else ""


def lacking_words(lacking: int, what: str) -> str:
    """How many models are not in the figure for want of a number."""
    return (
        f"{how_many(lacking, 'model')} without {what} {'is' if lacking == 1 else 'are'} not shown." if lacking else ""
    )


def sentences(*parts: str) -> str:
    """Those that are not empty, one behind the other."""
    return " ".join(part for part in parts if part)
