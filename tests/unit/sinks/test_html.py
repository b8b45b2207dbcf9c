from __future__ import annotations

from pathlib import Path

import pytest
from sample_run import usual_records, write_log

from pytest_llmci.engine.reports.report import SessionReport
from pytest_llmci.engine.reports.report_builder import build_report
from pytest_llmci.errors import MissingExtraError, SinkError
from pytest_llmci.html_report import page
from pytest_llmci.plots.base import Note
from pytest_llmci.registry import Registry
from pytest_llmci.sinks import open_sink, register
from pytest_llmci.sinks.html import HtmlSink

pytest.importorskip("jinja2")


def note(_: object) -> Note:
    return Note(name="of-mine", text="my own reason")


@pytest.fixture
def report(tmp_path: Path) -> SessionReport:
    write_log(tmp_path, usual_records())
    return build_report(tmp_path)


def test_the_file_stands_in_the_run_folder_or_where_it_is_asked_for(report: SessionReport, tmp_path: Path) -> None:
    there = tmp_path / "out" / "page.html"
    assert HtmlSink().write(report, tmp_path) == [tmp_path / "report.html"]
    assert HtmlSink(str(there)).write(report, tmp_path) == [there]
    assert there.read_bytes() == (tmp_path / "report.html").read_bytes()
    assert there.read_bytes().startswith(b"<!DOCTYPE html>") and there.read_bytes().rstrip().endswith(b"</html>")


def test_a_place_that_cannot_be_written_is_one_line(report: SessionReport, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="is a folder: name a file in it, such as"):
        HtmlSink(str(tmp_path)).write(report, tmp_path)


def test_what_breaks_while_writing_leaves_the_old_page(
    report: SessionReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr(page, "policy", lambda css, script: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        HtmlSink().write(report, tmp_path)
    assert (tmp_path / "report.html").read_text() == "old"
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("report.html.")]


def test_plots_of_the_session_are_on_the_page(report: SessionReport, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    registry = Registry()
    register(registry)
    registry.add("plot", "of-mine", f"{__name__}:note", summary="a plot of mine")
    [path] = open_sink("html", registry, "--sink").write(report, tmp_path)
    assert "A plot of mine: my own reason" in path.read_text(encoding="utf-8")


def test_without_jinja_it_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"sink 'html' needs the package 'jinja2'.*pytest-llmci\[report\]"):
        HtmlSink()
