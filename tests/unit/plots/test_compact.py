from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from pytest_llmci.plots.compact import LAYERS, compact

CIRCLE = "M 0 1.7 \nC 0.45 1.7 0.88 1.52 1.2 1.2 \nC 1.5 0.8 1.7 0.4 1.7 0 \nz\n"
CROSS = "M -2.5 2.5 \nL 2.5 -2.5 \nM -2.5 -2.5 \nL 2.5 2.5 \n"


def marks(shape: str, style: str, count: int = 20, *, defs: bool = True) -> str:
    uses = "".join(f'<use xlink:href="#m1" x="{10 + i}.123456" y="5.98765" style="{style}"/>\n' for i in range(count))
    head = f'<defs>\n<path id="m1" d="{shape}"/>\n</defs>\n' if defs else ""
    return f'{head}<g clip-path="url(#p)">\n{uses}</g>'


def svg(body: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{body}</svg>'


def test_dots_become_a_few_paths_with_a_stroke_for_each_dot() -> None:
    found = compact(svg(marks(CIRCLE, "fill: #0072b2; fill-opacity: 0.5")), "'F'", "'F'")
    ET.fromstring(found)
    assert "<use" not in found and found.count("h0") == 20 and found.count("<path d=") == LAYERS
    assert "M10.1 6.0h0" in found and "stroke-width: 3.4" in found and "stroke-opacity: 0.5" in found


def test_later_marks_of_the_same_shape_keep_its_definition() -> None:
    style = "fill: #0072b2"
    found = compact(svg(marks(CIRCLE, style) + marks(CIRCLE, style, count=3, defs=False)), "'F'", "'F'")
    ET.fromstring(found)
    assert found.count("<use") == 3 and 'id="m1"' in found


def test_crosses_become_one_path() -> None:
    found = compact(svg(marks(CROSS, "stroke: #d55e00")), "'F'", "'F'")
    ET.fromstring(found)
    assert "<use" not in found and found.count("M7.6 3.5l5 5m-5 0l5-5") == 1 and found.count("M") >= 20


def test_other_shapes_and_few_marks_stay() -> None:
    square = "M -1 1 \nL 1 1 \nL 1 -1 \nL -1 -1 \nz\n"
    assert compact(svg(marks(square, "fill: #000000")), "'F'", "'F'").count("<use") == 20
    assert compact(svg(marks(CIRCLE, "fill: #000000", count=3)), "'F'", "'F'").count("<use") == 3


def test_words_are_never_touched() -> None:
    text = "<text x=\"1.23456\">a d=\"9.87654\" 'F' 1.23456</text><!-- 'F' -->"
    found = compact(svg(text), "'F'", "'F', sans-serif")
    assert found.endswith('<text x="1.23">a d="9.87654" \'F\' 1.23456</text></svg>')
    assert not re.search("<!--", found)
