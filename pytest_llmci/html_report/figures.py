"""The run's plots as elements of a page that allows no style attributes: each style becomes a class of one style sheet.

Colours of ink, paper and grid become variables, so that a dark page has dark figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from ..engine.reports.report import SessionReport
from ..errors import FOREIGN_ERRORS, described
from ..plots import plots_of, register
from ..plots.base import EXTRA, Plot, inline_svg
from ..plots.run_data import RunData
from ..registry import Registry

_STYLE_ELEMENT: Final = re.compile(r"<style\b.*?</style>", re.DOTALL)
_EMPTY_DEFS: Final = re.compile(r"<defs>\s*</defs>\s*")
_STYLE: Final = re.compile(r'\sstyle="([^"]*)"')
_ID: Final = re.compile(r'\sid="([^"]*)"')
_USED: Final = re.compile(r'(?:href="#|url\(#)([^")]+)')
_TAG: Final = re.compile(r"<[^<>]+>")
_SIZE: Final = re.compile(r'(<svg\b[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"')
_SPACE: Final = re.compile(r"\n\s*")
_COLOURS: Final = {
    "#ffffff": "paper", "#333333": "ink", "#000000": "ink", "#555555": "quiet", "#8c8c8c": "faint", "#e3e3e3": "grid",
    "#cfe3f0": "bar", "#0072b2": "blue", "white": "paper", "black": "ink",
}  # fmt: skip
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}\b|(?<=: )(?:white|black)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One plot on the page."""

    name: str
    title: str
    svg: str
    """Trusted markup, made here; empty where there is nothing to draw."""
    note: str = ""
    """Why there is nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """All plots of a run, and the style sheet that they share."""

    shown: Sequence[Figure] = ()
    css: str = ""
    note: str = ""
    """Why there are none at all."""


def run_figures(report: SessionReport, registry: Registry | None = None) -> Figures:
    """Every registered plot; without matplotlib a note."""
    if find_spec("matplotlib") is None:
        return Figures(note=f"The plots need matplotlib, which is not installed: pip install '{EXTRA}'.")
    if registry is None:
        registry = Registry()
        register(registry)
    titles = {entry.name: entry.summary for entry in registry.entries("plot")}
    classes = _Classes()
    shown = [_figure(name, titles[name], plot, classes) for name, plot in plots_of(RunData(report), registry)]
    return Figures(shown=shown, css=classes.css())


def _figure(name: str, title: str, plot: Plot, classes: _Classes) -> Figure:
    try:
        note = plot.lacking()
        svg = "" if note else classes.applied(inline_svg(plot))
    except FOREIGN_ERRORS as error:  # one that cannot be drawn hides no other
        svg, note = "", f"could not be drawn: {described(error)}"
    return Figure(name=name, title=title[:1].upper() + title[1:], svg=svg, note=note)


class _Classes:
    """Styles seen so far, each with its class."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def applied(self, svg: str) -> str:
        """The element without style attributes and elements, and without ids that nothing points to."""
        svg = _EMPTY_DEFS.sub("", _STYLE_ELEMENT.sub("", svg))
        used = set(_USED.findall(svg))

        def rewritten(tag: re.Match[str]) -> str:
            text = _STYLE.sub(lambda found: f' class="{self._name(found[1])}"', tag[0])
            return _ID.sub(lambda found: found[0] if found[1] in used else "", text)

        svg = _TAG.sub(rewritten, svg)
        return _SPACE.sub(" ", _SIZE.sub(r'\1 width="\2pt" class="plot"', svg, count=1)).replace("> <", "><")

    def _name(self, style: str) -> str:
        return self._names.setdefault(style, f"p{len(self._names)}")

    def css(self) -> str:
        """The rules, one a line; they yield to nothing but each other."""
        rules = [":where(.plot *){stroke-linejoin:round;stroke-linecap:butt}"]
        rules += [f".{name}{{{_themed(style)}}}" for style, name in self._names.items()]
        return "\n".join(rules)


def _themed(style: str) -> str:
    """
    >>> _themed("fill: #ffffff; stroke: #0072b2"), _themed("fill: #d55e00")
    ('fill: var(--plot-paper); stroke: var(--plot-blue)', 'fill: #d55e00')
    """
    safe = style.replace("&quot;", '"').replace("&apos;", "'")
    return _COLOUR.sub(lambda found: f"var(--plot-{_COLOURS[found[0]]})" if found[0] in _COLOURS else found[0], safe)
