from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from leaderboards import kaggle_row, write_table

from pytest_llmci.cli.main import main

DOC = (Path(__file__).parents[3] / "docs" / "leaderboard.md").read_text("utf-8")


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


def test_select_prints_a_list_and_saves_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = (
        "select",
        "board.csv",
        "--max-params=3B",
        "--max-memory=16GiB",
        "--license=mit,apache-2.0",
        "--top=2",
        "--save=models.yaml",
    )
    status, out, err = run(capsys, *words)
    assert (status, err) == (0, "")
    assert "\n--llm-models=org/m2-2b,org/m1-1b\n" in out
    assert out.endswith("Saved: pytest --llm-models=@models.yaml\n")
    assert "  - org/m2-2b\n" in (tmp_path / "models.yaml").read_text("utf-8")


def test_select_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(
        capsys, "select", "board.csv", "--json", "--min-score=22", "--by=mmlu", "--dtype=float16", "--type=pre*"
    )
    data = json.loads(out)
    assert status == 0 and data["by"] == "MMLU"
    assert [(each["model"], each["score"]) for each in data["chosen"]] == [
        ("org/m5-5b", 25), ("org/m3-3b", 23), ("org/m2-2b", 22),
    ]  # fmt: skip
    assert data["llm_models"][0] == "org/m5-5b+dtype=float16"
    assert [each["reasons"] for each in data["lost"]] == [["MMLU under 22"]]


def test_select_without_a_result_has_exit_status_1_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, _ = run(capsys, "select", "board.csv", "--max-params=350M", "--save=models.yaml")
    assert status == 1 and "No model is within the limits." in out
    assert not (tmp_path / "models.yaml").exists()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--max-params=huge", "--max-params: 'huge' is no number of parameters; write it like 2B or 350M."),
        ("--max-params=0", "--max-params: '0' is no number of parameters"),
        ("--max-memory=4XiB", "--max-memory: '4XiB' is not a quantity in bytes"),
        ("--max-memory=0", "--max-memory: '0' must be more than zero"),
        ("--min-score=400", "--min-score: '400' is no score in per cent"),
        ("--min-score=good", "--min-score: 'good' is no score in per cent"),
        ("--top=0", "--top: 0 is too small"),
        ("--include=flaged", "--include: unknown group 'flaged'. Did you mean 'flagged'?"),
        ("--by=GPQA", "--by: unknown score 'GPQA'."),
        ("--save=no/where.yaml", "No such file or directory"),
    ],
)
def test_bad_limits_are_one_line(capsys: pytest.CaptureFixture[str], option: str, words: str) -> None:
    status, out, err = run(capsys, "select", "board.csv", option)
    assert (status, out) == (4, "")
    assert words in err and err.count("\n") == 1


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "select", "--help")
    for option in (
        "--max-params",
        "--max-memory",
        "--dtype",
        "--min-score",
        "--license",
        "--type",
        "--by",
        "--top",
        "--include",
        "--save",
    ):
        assert option in out
        assert option in DOC
    assert "flagged, gated, unavailable, adapters, packed" in " ".join(out.split())
    assert all(option in DOC for option in ("--unique", "--figures", "--no-figures", "--json", "--llmci-scores"))
