"""What plots with a mark for each model share: which models have a colour, and names beside marks that cover nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from ..text import how_many, sentence, told_noisy
from .base import BLUE, FAINT, INK, ORANGE, VERMILION, labels
from .rows import CLOUD, dot_strength

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox
    from numpy.typing import NDArray

    from ..stats.location import Floats
    from .run_data import RunData

MOST_COLOURS: Final = 7
"""Models that have one each."""

MIXED_CLOUD: Final = 250
"""Marks of several shapes from which on they are a picture within the SVG."""


class Style(NamedTuple):
    """How a model looks: never by its colour alone."""

    colour: str
    marker: str
    line: Any
    """A name, or offset and lengths of dashes."""


STYLES: Final = (
    Style(BLUE, "o", "-"),
    Style(VERMILION, "s", "--"),
    Style("#009E73", "^", "-."),
    Style("#CC79A7", "D", ":"),
    Style(ORANGE, "v", (0, (5, 1))),
    Style("#56B4E9", "P", (0, (3, 1, 1, 1))),
    Style("#000000", "X", (0, (1, 1))),
)
OTHER: Final = Style("#B5B5B5", ".", "-")
"""Of the models that have no colour of their own."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """The rounds of one model that have both of two metrics, SI."""

    model: str
    x: Floats = field(repr=False)
    y: Floats = field(repr=False)
    noisy: NDArray[np.bool_] = field(repr=False)

    @property
    def middle(self) -> tuple[float, float]:
        """The medians."""
        import numpy as np

        return float(np.median(self.x)), float(np.median(self.y))


def clouds_of(data: RunData, x: str, y: str) -> list[Cloud]:
    """One for each model that has a round with both metrics."""
    import numpy as np

    found = []
    for model in data.models:
        both = np.isfinite(model.columns[x]) & np.isfinite(model.columns[y])
        if both.any():
            cloud = Cloud(
                model=model.model, x=model.columns[x][both], y=model.columns[y][both], noisy=model.noisy[both]
            )
            found.append(cloud)
    return found


T = TypeVar("T")


def styled(items: Sequence[T]) -> list[tuple[T, Style]]:
    """Each with its look: the first ones in colour, the others in grey and first in the list, so that they lie behind."""
    return [*((item, OTHER) for item in items[MOST_COLOURS:]), *zip(items, STYLES, strict=False)]


def draw_clouds(axes: Axes, clouds: Sequence[Cloud], x_factor: float, y_factor: float) -> None:
    """Every round as a dot in its model's colour, crossed if it is noisy."""
    total = sum(len(cloud.x) for cloud in clouds)
    for cloud, style in styled(clouds):
        grey = style is OTHER
        axes.plot(
            cloud.x / x_factor, cloud.y / y_factor, style.marker, color=style.colour, markersize=2.5 if grey else 3.5,
            alpha=dot_strength(len(cloud.x)), markeredgewidth=0, rasterized=total > MIXED_CLOUD, zorder=2 if grey else 3,
        )  # fmt: skip
    noisy = [
        (x / x_factor, y / y_factor)
        for cloud in clouds
        for x, y in zip(cloud.x[cloud.noisy], cloud.y[cloud.noisy], strict=True)
    ]
    if noisy:
        axes.plot(
            *zip(*noisy, strict=True), "x", color=INK, markersize=4, markeredgewidth=0.7, alpha=0.7, rasterized=len(noisy) > CLOUD,
        )  # fmt: skip


def name_models(axes: Axes, models: Sequence[str], *, lines: bool = False) -> None:
    """The models' names and looks, right of the axes, and how many are grey."""
    shown = models[:MOST_COLOURS]
    entries = list(zip(labels(shown, 26), STYLES, strict=False))
    if len(models) > MOST_COLOURS:
        entries.append((how_many(len(models) - MOST_COLOURS, "other"), OTHER))
    for text, style in entries:
        look = {"linestyle": style.line} if lines else {"linestyle": "none", "marker": style.marker, "markersize": 6}
        axes.plot([], [], color=style.colour, label=text, **look)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8, borderaxespad=0, labelcolor=INK,
        handlelength=2.8 if lines else 1.2,
    )  # fmt: skip


def noisy_words(clouds: Sequence[Cloud]) -> str:
    """How many rounds are noisy."""
    noisy, total = sum(int(cloud.noisy.sum()) for cloud in clouds), sum(len(cloud.noisy) for cloud in clouds)
    return f"{sentence(told_noisy(noisy, total, past=False))} (crossed)." if noisy else ""


def grey_words(models: int, which: str) -> str:
    """Which models have a colour; empty where all have."""
    if models <= MOST_COLOURS:
        return ""
    return f"Of {how_many(models, 'model')} the {MOST_COLOURS} with the {which} are in colour."


@dataclass(frozen=True, kw_only=True, slots=True)
class Name:
    """A name that wants a place beside its mark."""

    x: float
    y: float
    text: str
    strong: bool = False


_PLACES: Final = (
    (7, 0, "left", "center"), (0, 7, "center", "bottom"), (0, -7, "center", "top"), (-7, 0, "right", "center"),
    (5, 6, "left", "bottom"), (5, -6, "left", "top"), (-5, 6, "right", "bottom"), (-5, -6, "right", "top"),
    (12, 14, "left", "bottom"), (12, -14, "left", "top"),
)  # fmt: skip
"""Offsets in points and alignments, the best first."""


def place_names(figure: Figure, axes: Axes, names: Sequence[Name], marks: Iterable[tuple[float, float, float]]) -> int:
    """Write each name where it covers neither a mark nor a name nor an edge; the first ones choose first.

    :param marks: left and right end and height, in data coordinates.
    :returns: how many found no place and were left out.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # the layout moves the axes
    inside = axes.get_window_extent(renderer)
    half = 3.5 * figure.dpi / 72
    ends = np.array([((left, y), (right, y)) for left, right, y in marks])
    at = axes.transData.transform(ends.reshape(-1, 2)).reshape(-1, 4)
    taken = [Bbox([[left - half, y - half], [right + half, y + half]]) for left, y, right, _ in at]
    left_out = 0
    for name, text in zip(names, labels([name.text for name in names], 26), strict=True):
        for dx, dy, horizontal, vertical in _PLACES:
            written = axes.annotate(
                text, (name.x, name.y), xytext=(dx, dy), textcoords="offset points", ha=horizontal, va=vertical,
                fontsize=8, color=INK if name.strong else "#555555", fontweight="bold" if name.strong else "normal",
            )  # fmt: skip
            written.set_in_layout(False)
            box = written.get_window_extent(renderer)
            if _is_free(box, taken, inside):
                taken.append(box)
                break
            written.remove()
        else:
            left_out += 1
    return left_out


def _is_free(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> bool:
    if box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1:
        return False
    return not any(
        box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1 for other in taken
    )


def frame(axes: Axes) -> None:
    """A grid in both directions that stays behind."""
    axes.grid(visible=True, color="#E3E3E3", linewidth=0.7)
    axes.spines[:].set_color(FAINT)
