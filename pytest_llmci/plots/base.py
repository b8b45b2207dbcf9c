"""What a figure is, how all of them look, and how one becomes a file. matplotlib without pyplot: no state, no display.

Equal data give equal bytes: neither a date nor a random id is written.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ..errors import SinkError
from ..registry import missing_package

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["png", "svg"]
EXTRA: Final = "pytest-llmci[report]"
BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
PALETTE: Final = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's colours, which people of any colour vision tell apart."""
INK: Final = "#333333"
FAINT: Final = "#8C8C8C"
DIVERGING: Final = "RdBu_r"
"""Colour map from -1 to 1: red and blue, which people of any colour vision tell apart."""
_STYLE: Final[dict[str, Any]] = {
    "font.size": 10,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",  # text stays text: smaller, searchable, read aloud
    "svg.hashsalt": "pytest-llmci",
    "savefig.dpi": 150,
}


class Plot(Protocol):
    """A figure with the data that it shows."""

    @property
    def name(self) -> str:
        """Stem of its files: lower case, with dashes."""

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height, by how much there is to show."""

    def lacking(self) -> str:
        """Why there is nothing to draw, in a sentence for people; empty if there is something."""

    def draw(self, figure: Figure) -> None:
        """Draw onto an empty figure. Called only where nothing is :meth:`lacking`."""


def render(plot: Plot) -> Figure:
    """The figure; where data are lacking, a note that says so in place of empty axes.

    :raises MissingExtraError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise missing_package("drawing a figure", error.name or "matplotlib", EXTRA) from error
    with _style():
        figure = Figure(figsize=plot.inches, layout="constrained")
        lacking = plot.lacking()
        if lacking:
            figure.text(0.5, 0.5, f"{plot.name}: {lacking}", ha="center", va="center", color=INK, wrap=True)
        else:
            plot.draw(figure)
    return figure


def encode(plot: Plot, kind: Format) -> bytes:
    """The figure as the bytes of a file.

    :raises MissingExtraError: without matplotlib.
    """
    return _encoded(render(plot), kind)


def _encoded(figure: Figure, kind: Format) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with _style():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def save(plot: Plot, folder: Path, kinds: Sequence[Format] = ("png", "svg")) -> list[Path]:
    """Write the figure as ``<name>.png`` and ``<name>.svg``.

    :returns: the files written.
    :raises MissingExtraError: without matplotlib.
    :raises SinkError: if the folder cannot be written.
    """
    figure = render(plot)
    paths = [folder / f"{plot.name}.{kind}" for kind in kinds]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, kind in zip(paths, kinds, strict=True):
            path.write_bytes(_encoded(figure, kind))
    except OSError as error:
        raise SinkError(
            f"{error.filename or folder}: the figure cannot be written: {error.strerror or error}."
        ) from error
    return paths


@contextmanager
def _style() -> Iterator[None]:
    """Our look, and quiet about letters that the font does not have: names of models may hold any."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


# -------------------------------------------------------------------------------------------------- what figures share


def size_axis(axes: Axes, lowest_b: float, highest_b: float) -> None:
    """A logarithmic axis of model sizes in billions, with the ticks that people know."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    known = (0.001, 0.01, 0.03, 0.1, 0.3, 1, 3, 7, 13, 30, 70, 180, 500, 1000)
    axes.set_xscale("log")
    axes.set_xlim(lowest_b / 1.25, highest_b * 1.25)
    ticks = [size for size in known if lowest_b / 1.25 <= size <= highest_b * 1.25]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([_size(tick) for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("parameters (logarithmic axis)")


def _size(billions: float) -> str:
    return f"{billions:g}B" if billions >= 1 else f"{billions * 1000:g}M"


def literal(text: str) -> str:
    r"""A text in which matplotlib sees no formula.

    >>> literal("a$b")
    'a\\$b'
    """
    return text.replace("$", r"\$")


def finite(values: Sequence[float | None]) -> list[float]:
    """The numbers among the values."""
    return [value for value in values if value is not None and math.isfinite(value)]
