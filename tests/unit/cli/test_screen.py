from __future__ import annotations

from pathlib import Path

import pytest
from stored_runs import block, judged, simple, write_run

from pytest_llmci.cli.main import main
from pytest_llmci.cli.screen import columns, row, text_columns
from pytest_llmci.text import width

WIDTHS = (45, 55, 60, 79)
WHOLE = ("  pytest --llmci ", "  git ", "old  ", "new  ")
"""Before commands and paths, which are to be copied and not broken."""


@pytest.mark.parametrize(
    ("told", "found", "of_text"), [("", 80, 80), ("60", 60, 60), ("200", 200, 100), ("39", 80, 80), ("x", 80, 80)]
)
def test_the_width_is_found_as_pytest_finds_it(
    monkeypatch: pytest.MonkeyPatch, told: str, found: int, of_text: int
) -> None:
    from _pytest._io.terminalwriter import get_terminal_width

    monkeypatch.setenv("COLUMNS", told)
    assert (columns(), text_columns()) == (found, of_text)
    assert columns() == get_terminal_width()


def test_a_row_leaves_out_columns_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert row(("a" * 30, " " * 5 + "12345", "   x")) == "a" * 30 + " " * 5 + "12345"


@pytest.mark.parametrize("most", WIDTHS)
@pytest.mark.parametrize(
    "arguments",
    [["compare", "latest"], ["history"], ["history", "--gate"], ["compare", "--metrics", "latest~1", "latest"]],
)
def test_what_compares_runs_fits_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], most: int, arguments: list[str]
) -> None:
    output = tmp_path / "llmci-results"
    name = "a-model-with-a-long-name"
    write_run(output, 0, simple(model=name))
    changed = [block("dns", model=name, factor=2), judged("dns", model=name)]
    write_run(output, 1, [*simple(["tcp"], model=name, seed=1, info={"dtype": "bfloat16"}), *changed])
    for run in list(output.iterdir()):
        run.joinpath("metrics.json").write_text(f'{{"{name}": {{"latency": 1.0, "peak_rss": 1e9}}}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(most))
    assert main(arguments) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines and [line for line in lines if width(line) > most and not line.startswith(WHOLE)] == []


def test_a_wide_terminal_shows_long_names_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "llmci-results"
    name = "a-model-with-a-rather-long-name-indeed"
    write_run(output, 0, simple(model=name))
    write_run(output, 1, [*simple(["tcp"], model=name), block("dns", model=name, factor=2), judged("dns", model=name)])
    monkeypatch.chdir(tmp_path)
    shown = {}
    for most in (80, 160):
        monkeypatch.setenv("COLUMNS", str(most))
        assert main(["compare", "latest"]) == 1
        shown[most] = f"{name}-dns  " in capsys.readouterr().out
    assert shown == {80: False, 160: True}
