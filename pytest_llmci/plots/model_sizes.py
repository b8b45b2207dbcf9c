"""Histogram of the sizes of models."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import BLUE, INK, ORANGE, finite, literal, size_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """How many models there are of each size."""

    sizes_b: tuple[float | None, ...]
    """Billions of parameters, one a model; None where unknown."""
    what: str = "rows"
    """What is counted."""
    name: str = "model-sizes"
    inches: tuple[float, float] = (8.0, 4.5)

    def lacking(self) -> str:
        return "" if any(size > 0 for size in finite(self.sizes_b)) else "no size is known"

    def draw(self, figure: Figure) -> None:
        sizes = [size for size in finite(self.sizes_b) if size > 0]
        axes = figure.add_subplot()
        low, high = min(sizes), max(sizes)
        axes.hist(sizes, bins=_edges(low, high), color=BLUE, edgecolor="white", linewidth=0.6)
        size_axis(axes, low / 1.2, high * 1.2)
        middle = statistics.median(sizes)
        axes.axvline(middle, color=ORANGE, linewidth=2)
        axes.annotate(
            f"median {middle:.3g}B", (middle, 1), xycoords=("data", "axes fraction"), xytext=(5, -2), textcoords="offset points",
            va="top", color=INK,
        )  # fmt: skip
        axes.set_ylabel(literal(self.what))
        axes.grid(visible=False, axis="x")
        unknown = len(self.sizes_b) - len(sizes)
        told = f"{len(sizes):,} {self.what}" + (f"; {unknown:,} more of unknown size" if unknown else "")
        axes.set_title(literal(f"Sizes of models ({told})"))


def _edges(low: float, high: float) -> list[float]:
    """Twelve bins a factor of ten, equally wide on a logarithmic axis."""
    first, last = math.floor(math.log10(low) * 12), math.floor(math.log10(high) * 12) + 1
    return [10 ** (number / 12) for number in range(first, last + 1)]
