from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample_run import rounds, verdict, worker, write_log

from pytest_llmci.cli.report import rebuild
from pytest_llmci.records import LogRecord

pytest.importorskip("streamlit")
from streamlit.testing.v1 import AppTest

HOSTILE = "<script>alert(1)</script> **bold** :red[x]"


def records(factor: float) -> list[LogRecord]:
    latencies = [100 * factor, 102 * factor, 101 * factor, 100 * factor, 103 * factor]
    return [
        worker(), rounds("r1", latencies_ms=latencies, outputs=[HOSTILE]), verdict("v1"),
        rounds("r2", prompt_id="dns", latencies_ms=latencies), verdict("v2", prompt_id="dns"),
    ]  # fmt: skip


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for day, factor in ((1, 1.0), (2, 1.01), (3, 2.0)):
        folder = tmp_path / f"2026010{day}T000000Z-abcdef"
        folder.mkdir()
        write_log(folder, records(factor), run_id=folder.name, started=f"2026-01-0{day}T00:00:00.000Z")
        rebuild(folder, ("json",), lambda _: None)
    return tmp_path


def script(folder: str) -> None:
    from pytest_llmci.dashboard.pages import show

    show(folder)


def page(output: Path, name: str = "") -> Any:
    app = AppTest.from_function(script, kwargs={"folder": str(output)}, default_timeout=60).run()
    if name:
        app.sidebar.radio[0].set_value(name).run()
    assert not app.exception
    return app


def test_the_list_has_a_row_a_run(output: Path) -> None:
    table = page(output).dataframe[0].value
    assert table["run"].tolist() == [f"2026010{day}T000000Z-abcdef" for day in (3, 2, 1)]
    assert table["latency (ms)"].tolist() == pytest.approx([202.0, 102.0, 101.0], abs=1.0)
    assert set(table["state"]) == {"passed"}


def test_two_runs_are_compared(output: Path) -> None:
    app = page(output, "Compare")
    assert [box.value for box in app.selectbox] == ["20260102T000000Z-abcdef", "20260103T000000Z-abcdef"]
    assert app.error or app.warning, "twice as slow"
    app.selectbox[0].set_value("20260103T000000Z-abcdef").run()
    assert "two different runs" in app.info[0].value


def test_history_shows_models_and_single_prompts(output: Path) -> None:
    app = page(output, "History")
    assert app.selectbox[0].value == "latency" and app.multiselect[0].value == ["a"]
    app.multiselect[1].set_value(["dns"]).run()
    assert not app.exception


def test_the_figures_of_a_run_are_drawn(output: Path) -> None:
    pytest.importorskip("matplotlib")
    app = page(output, "Plots")
    assert app.selectbox[0].value == "20260103T000000Z-abcdef"
    assert len([each for each in app.main if each.type == "image"]) == 10


def test_live_shows_the_newest_run(output: Path) -> None:
    app = page(output, "Live")
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["cells judged"] == "2" and figures["rounds"] == "10"
    assert any("No session is running" in caption.value for caption in app.caption)


def test_what_models_say_is_shown_as_text(output: Path) -> None:
    from pytest_llmci.dashboard.pages import _finished

    frame = _finished(str(output / "20260101T000000Z-abcdef")).to_frame()
    assert HOSTILE in set(frame.output)
    app = page(output, "Live")
    assert not [each for each in app.markdown if "script" in each.value]


def test_an_empty_folder_and_a_missing_one_are_told(tmp_path: Path) -> None:
    assert "No run yet" in page(tmp_path).info[0].value
    assert "there is no folder" in page(tmp_path / "nowhere").error[0].value
