from __future__ import annotations

import re
from pathlib import Path

import pytest
from page import ParsedPage
from sample_run import rounds, verdict, worker, write_log

from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.html_report import figures
from pytest_llmci.html_report.chart import rounds_chart
from pytest_llmci.html_report.figures import run_figures
from pytest_llmci.plots.base import Plot, inline_svg
from pytest_llmci.records import LogRecord, PublishedScore


@pytest.fixture
def report(tmp_path: Path) -> SessionReport:
    write_log(tmp_path, [worker(), rounds(noisy=["", "<b>busy</b>", ""]), verdict()])
    return build_report(tmp_path)


def test_figures_hold_no_style_no_script_and_no_id_twice(report: SessionReport) -> None:
    pytest.importorskip("matplotlib")
    found = run_figures(report)
    drawn = [figure for figure in found.shown if figure.svg]
    assert drawn and any(figure.note for figure in found.shown)
    whole = "".join(figure.svg for figure in drawn)
    assert 'style="' not in whole and "<style" not in whole and "<script" not in whole
    ids = re.findall(r'\sid="([^"]*)"', whole)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', whole)) == set(ids)
    used = set(re.findall(r'class="(p\d+)"', whole))
    assert used == set(re.findall(r"^\.(p\d+)\{", found.css, re.MULTILINE))
    assert "var(--plot-ink)" in found.css and "#333333" not in found.css
    assert all(re.match(r'<svg [^>]*width="[\d.]+pt" class="plot"', figure.svg) for figure in drawn)


def test_names_in_figures_are_text(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    hostile = "</text><script>alert(1)</script><!-- x"
    records: list[LogRecord] = []
    for number, alias in enumerate(("a", "b")):
        score = PublishedScore(value=40.0 + number, source=hostile, name=hostile)
        records += [
            worker(f"w{alias}", alias, published=score),
            rounds(f"r{alias}", alias),
            verdict(f"v{alias}", alias),
        ]
    write_log(tmp_path, records)
    by_name = {figure.name: figure.svg for figure in run_figures(build_report(tmp_path)).shown}
    assert "alert(1)" in by_name["score-against-latency"]
    parsed = ParsedPage(f"<main>{''.join(by_name.values())}</main>")
    assert parsed.unclosed == [] and not parsed.all("script")


def test_equal_runs_give_equal_figures(report: SessionReport) -> None:
    pytest.importorskip("matplotlib")
    assert run_figures(report) == run_figures(report)


def test_a_figure_that_cannot_be_drawn_hides_no_other(report: SessionReport, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    def fails(plot: Plot) -> str:
        if plot.name == "latency":
            raise ZeroDivisionError("no width")
        return inline_svg(plot)

    monkeypatch.setattr(figures, "inline_svg", fails)
    by_name = {figure.name: figure for figure in run_figures(report).shown}
    assert by_name["latency"].note == "could not be drawn: ZeroDivisionError: no width" and not by_name["latency"].svg
    assert by_name["latency-boxes"].svg


def test_without_matplotlib_there_is_a_note_and_no_figure(
    report: SessionReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    found = run_figures(report)
    assert not found.shown and found.note.endswith("not installed: pip install 'pytest-llmci[report]'.")


def test_the_chart_of_a_cell_begins_at_zero_and_marks_noise() -> None:
    chart = rounds_chart([0.1, 0.2, 0.1], [False, True, False])
    heights = [float(text) for text in re.findall(r'cy="([\d.]+)"', chart)]
    assert heights == [32.0, 32.0]  # half of the greatest, halfway between the axis at 58 and the top at 6
    assert chart.count('class="noisy"') == 1 and 'd="M4.0 32.0H' in chart
    assert rounds_chart([], []) == ""
    assert 'aria-label="latency of 1 round, 0 s to 0 s, axis from 0"' in rounds_chart([0.0], [False])
