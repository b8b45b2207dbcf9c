from __future__ import annotations

import re
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plot_runs import written_run
from stored_runs import block, judged, started, write_run

from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.plots import plots_of, register
from pytest_llmci.plots.average_latency import AverageLatency
from pytest_llmci.plots.base import Plot, encode, inline_svg, label, labels, render, save
from pytest_llmci.plots.correlations import correlations
from pytest_llmci.plots.cost import CostByPrice
from pytest_llmci.plots.history import MetricHistory
from pytest_llmci.plots.latency_boxes import LatencyBoxes
from pytest_llmci.plots.latency_length import LatencyLength
from pytest_llmci.plots.memory_cpu import MemoryCpu
from pytest_llmci.plots.run_data import RunData
from pytest_llmci.plots.scatter import MOST_COLOURS
from pytest_llmci.plots.score_latency import ScoreLatency
from pytest_llmci.plots.token_gaps import GapsOverPosition
from pytest_llmci.plots.ttft_decode import TtftDecode
from pytest_llmci.records import Price
from pytest_llmci.registry import Registry
from pytest_llmci.stats.intervals import mean_interval

pytest.importorskip("matplotlib")
FIVE = ("gpt2", "distilgpt2", "pythia-160m", "a-name-that-is-a-good-deal-longer-than-any-axis-has-room-for", "neo")
HOSTILE = (
    "$\\frac{a}{b}$",
    "<script>alert(1)</script>",
    "a&b\"'",
    "x\x1b[31m\nred",
    "\u6a21\u578b" * 20,
    "\ufffe-->%s{}",
)
RUN_ID = "20260101T000000Z-abcdef"


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return written_run(tmp_path_factory.mktemp("five") / RUN_ID, FIVE)


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = Registry()
    register(found)
    return found


def all_plots(data: RunData, registry: Registry) -> dict[str, Plot]:
    return dict(plots_of(data, registry))


def words(plot: Plot) -> str:
    """All that is written in the figure, in one line."""
    root = ET.fromstring(encode(plot, "svg"))
    return " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))


def boxes(plot: Plot) -> tuple[list[tuple[str, Any]], Any]:
    """Every text that is drawn with its bounding box, and the box of the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    found: list[tuple[str, Any]] = []
    draw = Text.draw

    def seen(self: Text, renderer: Any) -> None:
        if self.get_visible() and self.get_text().strip():
            found.append((self.get_text(), self.get_window_extent(renderer)))
        draw(self, renderer)

    figure = render(plot)
    canvas = FigureCanvasAgg(figure)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", seen)
        canvas.draw()
    return found, figure.bbox


def assert_no_overlap(plot: Plot) -> None:
    found, page = boxes(plot)
    assert found
    for number, (text, box) in enumerate(found):
        assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, f"{text!r} is cut"
        assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, f"{text!r} is cut"
        for other, there in found[:number]:
            apart = box.x1 <= there.x0 + 1 or there.x1 <= box.x0 + 1 or box.y1 <= there.y0 + 1 or there.y1 <= box.y0 + 1
            assert apart, f"{text!r} lies on {other!r}"


# ------------------------------------------------------------------------------------------------------- every figure


def test_a_run_gets_ten_figures_and_every_one_shows_something_but_a_history_of_one(
    five: RunData, registry: Registry
) -> None:
    found = all_plots(five, registry)
    assert list(found) == [
        *("latency", "latency-boxes", "memory-and-cpu", "score-against-latency", "cost", "correlations"),
        *("ttft-against-decode-rate", "latency-against-length", "itl-over-position", "history"),
    ]
    assert [name for name, plot in found.items() if plot.lacking()] == ["history"]
    assert all(plot.name == name for name, plot in found.items())


@pytest.mark.parametrize("count", [1, 5, 50])
def test_no_text_lies_on_another_or_is_cut(tmp_path: Path, registry: Registry, count: int) -> None:
    names = [f"organisation-{number % 7}/model-{number:03}-{'x' * (number * 3 % 40)}" for number in range(count)]
    data = written_run(tmp_path / RUN_ID, names, prompts=2, n=3)
    for plot in all_plots(data, registry).values():
        assert_no_overlap(plot)


@pytest.mark.parametrize("spread", [1.0, 3.0, 5000.0])
def test_axes_of_any_span_have_readable_ticks(tmp_path: Path, registry: Registry, spread: float) -> None:
    data = written_run(tmp_path / RUN_ID, FIVE, spread=spread)
    for plot in all_plots(data, registry).values():
        assert_no_overlap(plot)
    axis = render(AverageLatency.of(data)).axes[0].xaxis
    low, high = sorted(axis.get_view_interval())
    assert sum(low <= tick <= high for tick in axis.get_majorticklocs()) >= 2


def test_equal_data_give_equal_bytes_and_no_date(five: RunData, registry: Registry, tmp_path: Path) -> None:
    again = RunData(build_report(five.report.folder))
    for one, other in zip(all_plots(five, registry).values(), all_plots(again, registry).values(), strict=True):
        first, second = save(one, tmp_path / "one"), save(other, tmp_path / "two")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
        assert b"<dc:date>" not in first[1].read_bytes() and b"<!--" not in first[1].read_bytes()


def test_a_users_own_look_changes_nothing(five: RunData) -> None:
    import matplotlib as mpl

    plot = AverageLatency.of(five)
    plain = encode(plot, "svg")
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert encode(plot, "svg") == plain
        assert mpl.rcParams["font.size"] == 30


def test_many_threads_draw_the_same(five: RunData, registry: Registry) -> None:
    plots = list(all_plots(five, registry).values())
    alone = [encode(plot, "svg") for plot in plots]
    found: dict[int, bytes] = {}

    def draw(number: int) -> None:
        found[number] = encode(plots[number % len(plots)], "svg")

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(2 * len(plots))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(2 * len(plots))] == alone * 2


def test_svgs_of_a_usual_run_are_small(tmp_path: Path, registry: Registry) -> None:
    data = written_run(tmp_path / RUN_ID, FIVE, prompts=10, n=20, tokens=50)
    sizes = {name: len(encode(plot, "svg")) for name, plot in all_plots(data, registry).items()}
    assert max(sizes.values()) < 60_000, sizes


def test_hostile_names_stay_text(tmp_path: Path, registry: Registry) -> None:
    data = written_run(tmp_path / RUN_ID, HOSTILE)
    for plot in all_plots(data, registry).values():
        svg = encode(plot, "svg").decode()
        root = ET.fromstring(svg)  # one that is broken raises
        assert not any("script" in node.tag for node in root.iter())
        assert "<script" not in svg and "\x1b" not in svg
        encode(plot, "png")
    shown = words(AverageLatency.of(data))
    assert "$\\frac{a}{b}$" in shown and "<script>alert(1)</script>" in shown and "a&b\"'" in shown


def test_an_inline_svg_has_ids_of_its_own_and_nothing_from_a_network(five: RunData, registry: Registry) -> None:
    ids: set[str] = set()
    for name, plot in all_plots(five, registry).items():
        text = inline_svg(plot)
        assert text.startswith("<svg ") and text.endswith("</svg>")
        assert f'role="img" aria-label="{name}"' in text
        own = set(re.findall(r'\bid="([^"]+)"', text))
        assert own and not own & ids and all(each.startswith(f"{name}-") for each in own)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= own
        assert not re.findall(r'(?:href|src)="(?!#|data:)', text)
        ids |= own


@pytest.mark.parametrize(
    ("metric", "lacking"),
    [
        ("latency", {"latency", "latency-boxes", "score-against-latency", "cost", "latency-against-length"}),
        ("ttft", {"ttft-against-decode-rate"}),
        ("itl", {"itl-over-position"}),
        ("output_tokens", {"latency-against-length"}),
        ("peak_rss", set()),
        ("cpu_percent", set()),
    ],
)
def test_a_missing_metric_is_a_note_with_the_reason(
    tmp_path: Path, registry: Registry, metric: str, lacking: set[str]
) -> None:
    found = all_plots(written_run(tmp_path / RUN_ID, FIVE, without=[metric]), registry)
    assert {name for name, plot in found.items() if plot.lacking()} == {*lacking, "history"}
    for name in lacking:
        figure = render(found[name])
        assert figure.axes == []
        assert f"{metric} was not measured: no way to see {metric}" in found[
            name
        ].lacking() or "no way to see" in words(found[name])
    if metric in ("peak_rss", "cpu_percent"):
        assert f"no way to see {metric}" in words(found["memory-and-cpu"])


def test_a_run_without_rounds_is_ten_notes(tmp_path: Path, registry: Registry) -> None:
    for plot in all_plots(written_run(tmp_path / RUN_ID, ()), registry).values():
        assert plot.lacking() and render(plot).axes == []


# ------------------------------------------------------------------------------------------------------- single figures


def test_average_latency_shows_each_round_the_mean_and_its_interval(five: RunData) -> None:
    plot = AverageLatency.of(five)
    (axes,) = render(plot).axes
    assert axes.get_xlabel() == "latency (ms)"
    dots = [line for line in axes.lines if line.get_marker() in ("o", "x")]
    assert sum(len(line.get_xdata()) for line in dots) == 5 * 12
    crosses = next(line for line in dots if line.get_marker() == "x")
    assert len(crosses.get_xdata()) == 5 * 3
    means = next(line for line in axes.lines if line.get_marker() == "D")
    expected = sorted(model.mean("latency") or 0.0 for model in five.models)
    assert np.allclose(means.get_xdata(), [1000 * mean for mean in expected])
    first = next(model for model in five.models if model.model == plot.rows[0].model)
    interval = mean_interval(first.columns["latency"], first.cell)
    assert interval.low is not None and interval.high is not None
    lines = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert len(lines) == 5 and np.allclose(lines[0], [1000 * interval.low, 1000 * interval.high])
    assert axes.get_xlim()[0] == 0
    assert "95 % t interval" in words(plot) and "15 of 60 rounds are noisy" in words(plot)


def test_one_round_a_prompt_has_no_interval_and_says_so(tmp_path: Path) -> None:
    plot = AverageLatency.of(written_run(tmp_path / RUN_ID, ["a", "b"], n=1))
    (axes,) = render(plot).axes
    assert not [line for line in axes.lines if line.get_marker() == "|"]
    assert "No interval: it needs two rounds of every prompt." in words(plot)


def test_times_that_differ_greatly_have_a_logarithmic_axis_and_no_bars(tmp_path: Path) -> None:
    (axes,) = render(AverageLatency.of(written_run(tmp_path / RUN_ID, ["a", "b"], spread=500))).axes
    assert axes.get_xscale() == "log" and "logarithmic" in axes.get_xlabel()
    assert not list(axes.patches)
    (axes,) = render(AverageLatency.of(written_run(tmp_path / "n", ["a", "b"], spread=2))).axes
    assert axes.get_xscale() == "linear" and [bar.get_x() for bar in axes.patches] == [0, 0]


def test_of_many_models_the_fastest_are_shown_and_the_cut_is_told(tmp_path: Path) -> None:
    data = written_run(tmp_path / RUN_ID, [f"m{number}" for number in range(60)], prompts=1, n=2)
    plot = AverageLatency.of(data)
    assert [row.model for row in plot.rows] == [f"m{number}" for number in range(60)][:50] or len(plot.rows) == 50
    slowest = max(row.interval.mean for row in plot.rows)
    hidden = {model.model for model in data.models} - {row.model for row in plot.rows}
    assert all((data_of.mean("latency") or 0) >= slowest for data_of in data.models if data_of.model in hidden)
    assert "The 50 with the lowest mean of 60 models." in words(plot)
    assert "The 50 with the lowest memory of 60 models." in words(MemoryCpu.of(data))
    assert f"Of 60 models the {MOST_COLOURS} with the shortest time" in words(TtftDecode.of(data))
    assert "53 others" in words(LatencyLength.of(data))
    assert len(GapsOverPosition.of(data).gaps) == MOST_COLOURS


def test_memory_bars_begin_at_zero_and_a_model_without_one_is_marked(tmp_path: Path, five: RunData) -> None:
    left, right = render(MemoryCpu.of(five)).axes
    for axes, metric, factor in ((left, "peak_rss", 2**30), (right, "cpu_percent", 1)):
        assert axes.get_xlim()[0] == 0 and axes.get_xscale() == "linear"
        widths = [bar.get_width() for bar in axes.patches]
        assert np.allclose(sorted(widths), sorted((model.mean(metric) or 0) / factor for model in five.models))
    assert "(GiB)" in left.get_xlabel() and "(%)" in right.get_xlabel()


def test_boxes_show_every_round(five: RunData) -> None:
    (axes,) = render(LatencyBoxes.of(five)).axes
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() in ("o", "x")) == 60
    medians = sorted(float(np.median(model.columns["latency"])) for model in five.models)
    drawn = [line.get_xdata()[0] for line in axes.lines if line.get_linewidth() == 2.5]
    assert np.allclose(sorted(drawn), [1000 * each for each in medians])


def test_the_front_is_drawn_and_published_scores_are_squares(tmp_path: Path, five: RunData) -> None:
    plot = ScoreLatency.of(five)  # every slower one scores higher: all are the front
    (axes,) = render(plot).axes
    front = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert len(front.get_xdata()) == 5
    squares = [line for line in axes.lines if line.get_marker() == "s"]
    assert [len(line.get_xdata()) for line in squares] == [5] and not [
        line for line in axes.lines if line.get_marker() == "o"
    ]
    assert "were not measured here" in words(plot) and "board.csv" in words(plot)
    assert axes.get_ylabel() == "score (%)"


def test_without_a_score_the_note_says_how_to_get_one(tmp_path: Path) -> None:
    data = written_run(tmp_path / RUN_ID, FIVE, scores=False)
    assert "--llmci-scores=FILE" in words(ScoreLatency.of(data))
    cells = words(correlations(data))
    assert "n/a n = 0" in cells.replace("\n", " ") and "score" in cells


def test_correlations_tell_n_and_need_three_models(tmp_path: Path, five: RunData) -> None:
    found = correlations(five)
    latency = [model.mean("latency") or 0 for model in five.models]
    memory = [model.mean("peak_rss") or 0 for model in five.models]
    r = found.r[frozenset(("latency", "memory"))]
    assert r == pytest.approx(np.corrcoef(latency, memory)[0, 1])
    assert "n = 5" in words(found) and "score (published)" in words(found)
    two = correlations(written_run(tmp_path / RUN_ID, ["a", "b"]))
    assert "needs 3 of them; this run has 2" in words(two) and render(two).axes == []


def test_cost_is_price_times_what_was_measured(five: RunData) -> None:
    prices = (
        Price(name="hour", usd_per_hour=3.6),
        Price(name="tokens", usd_per_million_input_tokens=1.0, usd_per_million_output_tokens=10.0),
        Price(name="free", usd_per_hour=0.0),
    )
    plot = CostByPrice.at(five, prices)
    assert (plot.prices, plot.free) == (("hour", "tokens"), ("free",))
    model = five.models[0]
    row = next(row for row in plot.rows if row.model == model.model)
    hour, tokens = row.usd
    assert hour is not None and hour.mean == pytest.approx(1000 * 3.6 / 3600 * float(model.mean("latency") or 0))
    expected = 1e-3 * (float(model.mean("prompt_tokens") or 0) + 10 * float(model.mean("output_tokens") or 0))
    assert tokens is not None and tokens.mean == pytest.approx(expected)
    assert "Free and not shown: free." in words(plot) and "other latencies" in words(plot).replace(
        "another machine has ", ""
    )
    assert words(CostByPrice.at(five, prices[2:])).endswith("no price is above 0")


def test_the_packaged_prices_are_cut_with_a_word(five: RunData) -> None:
    plot = CostByPrice.of(five)
    assert len(plot.prices) == MOST_COLOURS and f"{plot.left_out} further prices not shown" in words(plot)


def test_ttft_against_decode_rate_has_every_round_and_the_medians(five: RunData) -> None:
    (axes,) = render(TtftDecode.of(five)).axes
    dots = [line for line in axes.lines if line.get_markersize() == 3.5]
    assert sum(len(line.get_xdata()) for line in dots) == 60
    assert len({line.get_marker() for line in dots}) == len({line.get_color() for line in dots}) == 5
    assert axes.get_xlabel().startswith("time to the first token (") and "per second" in axes.get_ylabel()


def test_answers_of_one_length_say_nothing_of_length(tmp_path: Path) -> None:
    plot = LatencyLength.of(written_run(tmp_path / RUN_ID, FIVE, fixed_length=True))
    assert "every answer has 12 tokens" in words(plot)


def test_gaps_are_medians_of_the_log_without_the_first_token(five: RunData) -> None:
    plot = GapsOverPosition.of(five)
    by_model = {gap.model: gap for gap in plot.gaps}
    gap = by_model["gpt2"]
    assert gap.n[0] == 12 and len(gap.median) <= 11 and (np.diff(gap.n) <= 0).all()
    assert np.allclose(gap.median, 5e7 / 12 / 1e9, rtol=0.1)  # 0.2 of the base is the first token
    (axes,) = render(plot).axes
    assert axes.lines[0].get_xdata()[0] == 2
    assert axes.get_ylabel().startswith("gap before the token (")


# ------------------------------------------------------------------------------------------------------------- history


def history_of(output: Path, factors: list[float]) -> MetricHistory:
    folder = output
    for number, factor in enumerate(factors):
        cells = [started(), block("tcp", factor=factor, seed=number), judged("tcp")]
        folder = write_run(output, number, cells)
    return MetricHistory.of(RunData(build_report(folder)))


def test_a_history_marks_where_the_level_changed(tmp_path: Path) -> None:
    pytest.importorskip("ruptures")
    plot = history_of(tmp_path, [1.0] * 8 + [1.5] * 6)
    (axes,) = render(plot).axes
    series = next(line for line in axes.lines if line.get_linestyle() == "-" and line.get_marker() == "o")
    assert len(series.get_xdata()) == 14
    (mark,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert list(mark.get_xdata()) == [7.5, 7.5]
    assert re.search(r"\+\d+(\.\d)? % worse", words(plot))
    assert axes.get_ylim()[0] == 0
    assert_no_overlap(plot)


def test_a_short_history_is_drawn_without_change_points_and_says_why(tmp_path: Path) -> None:
    plot = history_of(tmp_path, [1.0, 1.1, 1.0])
    (axes,) = render(plot).axes
    assert not [line for line in axes.lines if line.get_linestyle() == "--"]
    assert "3 comparable runs: change points need" in words(plot)


def test_later_runs_are_not_in_the_history_of_an_older_one(tmp_path: Path) -> None:
    history_of(tmp_path, [1.0, 1.1, 1.0])
    runs = sorted(path for path in tmp_path.iterdir())
    assert "first run in its folder" in words(MetricHistory.of(RunData(build_report(runs[0]))))
    second = MetricHistory.of(RunData(build_report(runs[1])))
    assert [len(series.points) for series in second.series] == [2]


def test_a_history_stops_where_logs_get_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmci.plots.run_data.MOST_RUNS", 3)
    plot = history_of(tmp_path, [1.0] * 5)
    assert len(plot.runs) == 3 and "2 older runs not shown" in words(plot)


# --------------------------------------------------------------------------------------------------------------- names


def test_of_names_of_one_family_what_they_differ_by_is_kept() -> None:
    family = [f"organisation-{n % 7}-a-long-name-of-the-family-{n:02d}-instruct-v{n % 3}" for n in range(50)]
    found = labels(family, 26)
    assert found[13] == "..6-..13-..v1" and len(set(found)) == 50 and max(map(len, found)) <= 26
    assert labels(["short-a", "short-b"], 26) == ["short-a", "short-b"]


def test_names_that_are_cut_alike_stay_apart() -> None:
    names = ["same-begin-" + "x" * 40 + f"{middle}" + "y" * 40 for middle in "ab"]
    one, other = labels(names)
    assert one != other and max(map(len, (one, other))) <= 32
    assert label("\u6a21\u578b" * 20).count("\u6a21") <= 8  # two columns each
