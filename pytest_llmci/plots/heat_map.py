"""Heat map of correlations, with every number written in its cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..text import shortened
from .base import DIVERGING, INK, entitle, literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 18
FLAT = 4
"""Columns up to which their names lie flat."""
_DARK = 0.6
"""From this |r| on a cell is dark, and its number white."""


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Pearson's r of every pair of columns."""

    titles: tuple[str, ...]
    r: Mapping[frozenset[str], float | None] = field(repr=False)
    """Two titles -> their r; None or absent where there is none."""
    title: str = "Correlations (Pearson's r)"
    n: Mapping[frozenset[str], int] = field(default_factory=dict, repr=False)
    """Two titles -> how many rows have both, to be written below r; empty to write none."""
    caption: str = ""
    why: str = ""
    """Why there is nothing to draw, where the columns do not tell."""
    name: str = "correlations"

    @property
    def inches(self) -> tuple[float, float]:
        side = max(4.5, (1.0 if self.n else 0.75) * len(self.titles) + 2)
        return (side + 1.2, side)

    def lacking(self) -> str:
        if self.why:
            return self.why
        if len(self.titles) < 2:
            return "a correlation needs two columns of numbers"
        return "" if any(r is not None for r in self.r.values()) else "no two columns have enough rows in common"

    def _cell(self, one: str, other: str) -> float | None:
        return 1.0 if one == other else self.r.get(frozenset((one, other)))

    def draw(self, figure: Figure) -> None:
        import numpy as np
        from matplotlib import colormaps

        cells = [[self._cell(one, other) for other in self.titles] for one in self.titles]
        colours = colormaps[DIVERGING].with_extremes(bad="#EEEEEE")
        axes = figure.add_subplot()
        numbers = np.array([[np.nan if cell is None else cell for cell in row] for row in cells])
        image = axes.imshow(np.ma.masked_invalid(numbers), cmap=colours, vmin=-1, vmax=1)
        for y, row in enumerate(cells):
            for x, cell in enumerate(row):
                colour = "white" if cell is not None and abs(cell) > _DARK else INK
                told = "n/a" if cell is None else f"{cell:.2f}"
                rows = self.n.get(frozenset((self.titles[x], self.titles[y])))
                told += "" if rows is None else f"\nn = {rows:,}"
                axes.text(x, y, told, ha="center", va="center", color=colour, fontsize=9)
        names = [literal(shortened(title, LONGEST)) for title in self.titles]
        if len(names) <= FLAT:
            axes.set_xticks(range(len(names)), [name.replace(" (", "\n(") for name in names])
        else:
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, shrink=0.8, ticks=[-1, -0.5, 0, 0.5, 1])
        if self.caption:
            entitle(figure, self.title, self.caption)
        else:
            axes.set_title(literal(self.title))
