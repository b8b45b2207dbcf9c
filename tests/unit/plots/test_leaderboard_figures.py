from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci.errors import MissingExtraError, SinkError
from pytest_llmci.plots.base import Plot, encode, render, save
from pytest_llmci.plots.heat_map import HeatMap
from pytest_llmci.plots.model_sizes import ModelSizes
from pytest_llmci.plots.score_boxes import ScoreBoxes
from pytest_llmci.plots.size_score import SizeScore

pytest.importorskip("matplotlib")
SIZES = ModelSizes(sizes_b=(0.125, 1.1, 7, 7, 13, 70, None))
BOXES = ScoreBoxes(scores={"ARC": (20, 25, 30.5, 60), "MMLU": (25, None, 26, 50)})
POINTS = SizeScore(points=((0.125, 29), (7, 50), (13, 55), (None, 40), (70, None)), r=0.87)
HEAT = HeatMap(titles=("ARC", "MMLU", "size"), r={frozenset(("ARC", "MMLU")): 0.92, frozenset(("ARC", "size")): -0.5})
ALL: list[Plot] = [SIZES, BOXES, POINTS, HEAT]


def texts(plot: Plot) -> str:
    """All that is written in the figure."""
    root = ET.fromstring(encode(plot, "svg"))
    return "\n".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize("plot", ALL, ids=lambda plot: plot.name)
def test_files_are_written_and_equal_data_give_equal_bytes(tmp_path: Path, plot: Plot) -> None:
    first, second = save(plot, tmp_path / "one"), save(plot, tmp_path / "two")
    assert [path.name for path in first] == [f"{plot.name}.png", f"{plot.name}.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes().startswith(b"\x89PNG")
    pyplot = sys.modules.get("matplotlib.pyplot")  # matplotlib itself may import it
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("plot", "words"),
    [
        (ModelSizes(sizes_b=(None, 0)), "no size is known"),
        (ScoreBoxes(scores={"ARC": (None,)}), "no score is known"),
        (ScoreBoxes(scores={}), "no score is known"),
        (SizeScore(points=((None, 1), (1, None)), r=None), "in no row both"),
        (HeatMap(titles=("a",), r={}), "needs two columns"),
        (HeatMap(titles=("a", "b"), r={frozenset("ab"): None}), "no two columns have enough"),
    ],
)
def test_missing_data_leave_a_note_and_no_axes(plot: Plot, words: str) -> None:
    assert render(plot).axes == []
    assert words in texts(plot)


def test_a_histogram_counts_every_known_size_once() -> None:
    (axes,) = render(SIZES).axes
    assert sum(bar.get_height() for bar in axes.patches) == 6
    assert "(6 rows; 1 more of unknown size)" in axes.get_title(loc="left")
    assert "median 7B" in texts(SIZES)
    assert axes.get_xscale() == "log" and "125M" not in texts(SIZES) and "7B" in texts(SIZES)


def test_one_model_is_a_histogram_too() -> None:
    (axes,) = render(ModelSizes(sizes_b=(7,))).axes
    assert sum(bar.get_height() for bar in axes.patches) == 1


def test_boxes_show_every_row_as_a_dot_and_tell_how_many() -> None:
    (axes,) = render(BOXES).axes
    dots = [line.get_ydata() for line in axes.lines if line.get_marker() == "."]
    assert [sorted(column) for column in dots] == [[20, 25, 30.5, 60], [25, 26, 50]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["ARC\nn = 4", "MMLU\nn = 3"]


def test_a_benchmark_without_a_score_keeps_its_place() -> None:
    (axes,) = render(ScoreBoxes(scores={"ARC": (), "MMLU": (1, 2)})).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["ARC\nn = 0", "MMLU\nn = 2"]


def test_the_scatter_plot_shows_who_has_both_and_tells_r() -> None:
    (axes,) = render(POINTS).axes
    (dots,) = axes.lines
    assert (list(dots.get_xdata()), list(dots.get_ydata())) == ([0.125, 7, 13], [29, 50, 55])
    assert "Pearson's r = 0.87 (3 rows; 2 more lack one of the two)" in axes.get_title(loc="left")
    assert "no correlation" in texts(SizeScore(points=((1, 1),), r=None))


def test_the_heat_map_writes_every_number() -> None:
    axes = render(HEAT).axes[0]
    assert [text.get_text() for text in axes.texts] == [
        *("1.00", "0.92", "-0.50"), *("0.92", "1.00", "n/a"), *("-0.50", "n/a", "1.00"),
    ]  # fmt: skip


def test_titles_are_no_formulas_and_unknown_letters_no_warnings() -> None:
    plot = HeatMap(titles=("$\\frac$", "\u6a21\u578b", "x" * 60), r={frozenset(("$\\frac$", "\u6a21\u578b")): 1.0})
    shown = texts(plot)
    assert "$\\frac$" in shown and "\u6a21\u578b" in shown and "x" * 60 not in shown
    encode(plot, "png")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="the figure cannot be written"):
        save(SIZES, tmp_path / "file" / "below")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: Any = None
    monkeypatch.setitem(sys.modules, "matplotlib.figure", broken)
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-llmci\[report\]'"):
        render(SIZES)
