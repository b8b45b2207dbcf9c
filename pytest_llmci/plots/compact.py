"""Smaller SVG with the same look: many dots or crosses of one kind become a few paths, coordinates get two digits.

matplotlib writes a hundred bytes a dot. A dot is the same as a stroke of no length with round ends, which takes fourteen. Dots
that lie on each other are darker: strokes of one path are not, so that the dots are dealt out to several.
"""

from __future__ import annotations

import re
from typing import Final

LAYERS: Final = 6
"""Paths that the dots are dealt out to."""
LEAST: Final = 8
"""Dots from which on it pays."""
_TAG: Final = re.compile(r"<[^<>]+>")
_COMMENT: Final = re.compile(r"<!--.*?-->\s*", re.DOTALL)  # each text once more
_COORDINATE: Final = re.compile(r"(?<![\w#.])(-?\d+\.\d\d)\d+")
_DRAWN: Final = re.compile(r"""\s(?:d|x|y)="[^"]*\"""")
_SHAPE: Final = re.compile(r"""<path id="([^"]+)" d="([^"]*)\"""")
_MARKS: Final = re.compile(
    r"""(?P<open><g clip-path="[^"]*">)\s*(?P<uses><use xlink:href="#(?P<id>[^"]+)"[^<>]*/>\s*"""
    r"""(?:<use xlink:href="#(?P=id)"[^<>]*/>\s*)+)</g>"""
)
_USE: Final = re.compile(r"""<use [^<>]*?\sx="([-\d.]+)" y="([-\d.]+)" style="([^"]*)"/>""")
_CIRCLE: Final = re.compile(r"M 0 ([\d.]+) \nC [^Lz]*z\s*\Z")
_CROSS: Final = re.compile(r"M -([\d.]+) \1 \nL \1 -\1 \nM -\1 -\1 \nL \1 \1 \s*\Z")
_FILL: Final = re.compile(r"fill: (#\w+)(?:; fill-opacity: ([\d.]+))?\Z")


def compact(svg: str, font: str, fallback: str) -> str:
    """The same picture in fewer bytes.

    :param svg: as matplotlib wrote it, with text as text.
    :param font: its font, as it is written in a style.
    :param fallback: what is written in its place: for who does not have it.
    """

    def small(tag: re.Match[str]) -> str:
        text = tag[0].replace(font, fallback)
        return _DRAWN.sub(lambda drawn: _COORDINATE.sub(r"\1", drawn[0]), text)

    text = _TAG.sub(small, _COMMENT.sub("", svg))
    shapes = dict(_SHAPE.findall(text))
    return _MARKS.sub(lambda marks: _fewer(marks, shapes.get(marks["id"], "")), text)


def _fewer(marks: re.Match[str], shape: str) -> str:
    places = [(float(x), float(y), style) for x, y, style in _USE.findall(marks["uses"])]
    styles = {style for _, _, style in places}
    if len(places) < LEAST or len(styles) != 1 or len(places) != marks["uses"].count("<use"):
        return marks[0]
    style = styles.pop()
    circle, cross, fill = _CIRCLE.match(shape), _CROSS.match(shape), _FILL.match(style)
    if circle and fill:
        paths = _dots(places, 2 * float(circle[1]), fill[1], fill[2])
    elif cross:
        size = float(cross[1])
        drawn = "".join(_cross(x, y, size) for x, y, _ in places)
        paths = f'<path d="{drawn}" style="{style}; fill: none"/>'
    else:
        return marks[0]
    return f"{marks['open']}{paths}</g>"


def _dots(places: list[tuple[float, float, str]], size: float, colour: str, opacity: str | None) -> str:
    style = f"fill: none; stroke: {colour}; stroke-width: {size:g}; stroke-linecap: round"
    style += f"; stroke-opacity: {opacity}" if opacity else ""
    layers = ("".join(f"M{x:.1f} {y:.1f}h0" for x, y, _ in places[start::LAYERS]) for start in range(LAYERS))
    return "".join(f'<path d="{layer}" style="{style}"/>' for layer in layers)


def _cross(x: float, y: float, size: float) -> str:
    return f"M{x - size:.1f} {y - size:.1f}l{2 * size:g} {2 * size:g}m-{2 * size:g} 0l{2 * size:g}-{2 * size:g}"
