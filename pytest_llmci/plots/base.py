"""What a figure is, how all of them look, and how one becomes a file. matplotlib without pyplot: no state, no display.

Equal data give equal bytes: neither a date nor a random id is written.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ..errors import SinkError
from ..registry import missing_package
from ..text import clipped, one_line, width
from .compact import compact

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
VERMILION: Final = "#D55E00"
FONT: Final = "DejaVu Sans"
"""Comes with matplotlib, so that a figure is the same on every machine."""
_FALLBACK: Final = f"'{FONT}', Verdana, sans-serif"
"""What a browser without that font takes: Verdana has nearly the same widths."""
QUIET: Final = "#555555"
"""Of captions."""
LABEL_ROOM: Final = 32
"""Columns of a model's name."""
NOTE_INCHES: Final = (6.4, 1.0)
"""Size of a figure that is a note."""
_STYLE: Final[dict[str, Any]] = {
    "font.size": 10,
    "font.family": [FONT],
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
_DRAWING: Final = threading.RLock()
"""matplotlib's settings are those of the whole process: who changes them draws alone."""


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


@dataclass(frozen=True, kw_only=True)
class Note:
    """Nothing but words, in place of a figure."""

    name: str
    text: str
    inches: tuple[float, float] = NOTE_INCHES

    def lacking(self) -> str:
        return self.text

    def draw(self, figure: Figure) -> None:
        """Never called."""


def render(plot: Plot) -> Figure:
    """The figure; where data are lacking, a note that says so in place of empty axes.

    :raises MissingExtraError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise missing_package("drawing a figure", error.name or "matplotlib", EXTRA) from error
    with _style():
        lacking = plot.lacking()
        if lacking:
            figure = Figure(figsize=NOTE_INCHES)
            note = textwrap.fill(one_line(f"{plot.name}: {lacking}"), 80)
            figure.text(0.02, 0.5, literal(note), ha="left", va="center", color=INK)
        else:
            figure = Figure(figsize=plot.inches, layout="constrained")
            plot.draw(figure)
    return figure


def encode(plot: Plot, kind: Format) -> bytes:
    """The figure as the bytes of a file.

    :raises MissingExtraError: without matplotlib.
    """
    return _encoded(render(plot), kind)


def inline_svg(plot: Plot) -> str:
    """The figure as an ``<svg>`` element for a page: no prolog, ids that begin with the plot's name, a label that is read aloud.

    :raises MissingExtraError: without matplotlib.
    """
    text = encode(plot, "svg").decode("utf-8")
    text = text[text.index("<svg") :]
    text = _TAG.sub(lambda tag: _ID.sub(lambda found: f"{found[1]}{plot.name}-{found[2]}", tag[0]), text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{plot.name}" ', 1).strip()


_ID: Final = re.compile(r"""(\bid="|href="#|url\(#)([A-Za-z_][\w.-]*)""")
_CLOUD_DPI: Final = 100  # of pictures within an SVG: clouds of very many dots
_TAG: Final = re.compile(r"<[^<>]+>")


def check_installed(what: str) -> None:
    """Refuse, before anything is measured, what cannot be drawn. Nothing is imported.

    :raises MissingExtraError: without matplotlib.
    """
    if find_spec("matplotlib") is None:
        raise missing_package(what, "matplotlib", EXTRA)


def _encoded(figure: Figure, kind: Format) -> bytes:
    buffer = io.BytesIO()
    with _style():
        if kind == "png":
            figure.savefig(buffer, format="png", metadata={"Software": None})
            return buffer.getvalue()
        figure.savefig(
            buffer, format="svg", dpi=_CLOUD_DPI, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return compact(buffer.getvalue().decode("utf-8"), f"'{FONT}'", _FALLBACK).encode("utf-8")


def save(plot: Plot, folder: Path, kinds: Sequence[Format] = ("png", "svg"), *, stem: str = "") -> list[Path]:
    """Write the figure as ``<name>.png`` and ``<name>.svg``.

    :param stem: in place of the plot's own name.
    :returns: the files written.
    :raises MissingExtraError: without matplotlib.
    :raises SinkError: if the folder cannot be written.
    """
    figure = render(plot)
    paths = [folder / f"{stem or plot.name}.{kind}" for kind in kinds]
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
    """Our look whatever the user's is, and quiet about letters that the font does not have: names of models may hold any."""
    import matplotlib as mpl

    look = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    with _DRAWING, mpl.rc_context({**look, **_STYLE}), warnings.catch_warnings():
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


def label(text: str, room: int = LABEL_ROOM) -> str:
    r"""A name as a figure shows it: one line, cut in its middle to that many columns, no formula, nothing that XML refuses.

    >>> label("a\nb$c"), label("a-rather-long-name", 11)
    ('a b\\$c', 'a-rat..name')
    """
    return literal(_short(_NOT_XML.sub("", one_line(text)), room))


def labels(texts: Sequence[str], room: int = LABEL_ROOM) -> list[str]:
    """:func:`label` of each; where two were cut to the same, what all have in common is left out, and the rest is numbered.

    >>> labels(["the-family-of-13b-v1-chat", "the-family-of-70b-v1-chat"], 14)
    ['..13b-..', '..70b-..']
    """
    if len({label(text, room) for text in texts}) < len(set(texts)):
        texts = _without_shared(texts)
    seen: dict[str, int] = {}
    found = []
    for text in texts:
        short = label(text, room)
        seen[short] = seen.get(short, 0) + 1
        found.append(short if seen[short] == 1 else f"{label(text, room - 4)} ({seen[short]})")
    return found


_PART: Final = re.compile(r"[^-_./+=: ]*[-_./+=: ]*")


def _without_shared(texts: Sequence[str]) -> list[str]:
    """The texts without the parts that stand in all of them at the same place, as far as all have as many parts."""
    parts = [_PART.findall(one_line(text))[:-1] for text in texts]
    if len(set(map(len, parts))) > 1:
        return list(texts)
    shared = [len(set(column)) == 1 for column in zip(*parts, strict=True)]
    runs = [groupby(zip(shared, each, strict=True), itemgetter(0)) for each in parts]
    return [
        "".join(".." if is_shared else "".join(part for _, part in run) for is_shared, run in each) for each in runs
    ]


_NOT_XML: Final = re.compile("[\ufffe\uffff]")


def _short(text: str, room: int) -> str:
    if width(text) <= room:
        return text
    half = (room - 2) // 2
    end = clipped(text[::-1], half)[::-1]
    return f"{clipped(text, room - 2 - half)}..{end}"


def entitle(figure: Figure, title: str, caption: str) -> None:
    """Title above, caption below: what is drawn, which interval, what was cut."""
    inches = figure.get_size_inches()[0]
    figure.suptitle(literal(title), x=0.01, ha="left", fontsize=12)
    lines = textwrap.wrap(one_line(caption), int(inches * _CAPTION_LETTERS))
    figure.supxlabel(literal("\n".join(lines)), x=0.01, ha="left", fontsize=8, color=QUIET)


_CAPTION_LETTERS: Final = 15.5  # an inch, at 8 points


def finite(values: Sequence[float | None]) -> list[float]:
    """The numbers among the values."""
    return [value for value in values if value is not None and math.isfinite(value)]
