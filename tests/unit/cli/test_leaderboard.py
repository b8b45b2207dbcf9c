from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from leaderboards import kaggle_row, write_table

from pytest_llmci.cli.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_table(
        tmp_path / "board.csv",
        [kaggle_row(f"org/m{n}-{n}b", str(30 + n), size=str(n), MMLU=str(20 + n)) for n in (1, 2, 3, 5)],
    )
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["leaderboard", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_describe_prints_the_table_and_draws_four_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    status, out, err = run(capsys, "describe", "board.csv")
    assert (status, err) == (0, "")
    assert "board.csv: 4 rows, 4 models; scores in per cent" in out
    assert (
        "Figures, as PNG and SVG, in leaderboard-figures: model-sizes, scores, size-against-score, correlations" in out
    )
    assert len(list((tmp_path / "leaderboard-figures").glob("*.png"))) == 4
    assert len(list((tmp_path / "leaderboard-figures").glob("*.svg"))) == 4


def test_describe_as_json_without_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    status, out, _ = run(capsys, "describe", "board.csv", "--json", "--no-figures")
    assert status == 0 and json.loads(out)["rows"] == 4
    assert not (tmp_path / "leaderboard-figures").exists()


def test_describe_puts_figures_where_it_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    status, out, _ = run(capsys, "describe", "board.csv", "--json", "--figures", "there")
    assert status == 0 and json.loads(out)["figures"][0] == str(Path("there") / "model-sizes.png")
    assert (tmp_path / "there" / "correlations.svg").is_file()


def test_bad_input_is_one_line_and_exit_status_4(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "describe", "bord.csv")
    assert (status, out) == (4, "")
    assert err == "llmci: error: bord.csv: cannot be read: No such file or directory. Did you mean 'board.csv'?\n"


def test_without_pandas_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    broken: Any = None
    monkeypatch.setitem(sys.modules, "pandas", broken)
    status, _, err = run(capsys, "describe", "board.csv")
    assert status == 4 and "pip install 'pytest-llmci[report]'" in err
