from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from leaderboards import board_row, kaggle_row, write_table

from pytest_llmci.leaderboard.describe import Description, describe
from pytest_llmci.leaderboard.describe_text import description_json, description_lines
from pytest_llmci.leaderboard.read import read_leaderboard

pytest.importorskip("pandas")


def described(tmp_path: Path, *rows: dict[str, str], unique: bool = False) -> Description:
    return describe(read_leaderboard(write_table(tmp_path / "table.csv", rows)), unique=unique)


def rows() -> list[dict[str, str]]:
    sizes, averages = ("1", "2.5", "0", "7.5", "13.2"), ("30", "35", "36", "33", "50")
    return [kaggle_row(f"m{size}", average, size=size) for size, average in zip(sizes, averages, strict=True)]


def test_the_statistics_of_a_column(tmp_path: Path) -> None:
    found = described(tmp_path, *rows())
    average, size = found.columns[0], next(column for column in found.columns if column.title == "#Params (B)")
    values = [30, 35, 36, 33, 50]
    assert (average.n, average.missing, size.n, size.missing) == (5, 0, 4, 1)
    assert average.statistics == pytest.approx({
        "mean": statistics.mean(values), "std": statistics.stdev(values), "min": 30, "25%": 33, "50%": 35, "75%": 36, "max": 50,
    })  # fmt: skip
    assert size.statistics["50%"] == pytest.approx((2.5 + 7.5) / 2)


def test_what_a_sample_cannot_carry_is_left_out(tmp_path: Path) -> None:
    found = described(tmp_path, kaggle_row("a", size="-1"))
    sizes = next(column for column in found.columns if column.title == "#Params (B)")
    assert (sizes.n, sizes.statistics) == (0, {})
    assert "std" not in found.columns[0].statistics and found.columns[0].statistics["mean"] == 40
    assert all(each.r is None for each in found.correlations)
    assert any(
        line.split()[:3] == ["#Params", "(B)", "0"] and line.endswith("n/a") for line in description_lines(found)
    )


def test_correlations_take_the_rows_that_have_both(tmp_path: Path) -> None:
    found = described(tmp_path, *rows())
    pair = found.correlation("#Params (B)", "Average score")
    assert pair is not None and pair.n == 4
    assert pair.r == pytest.approx(statistics.correlation([1, 2.5, 7.5, 13.2], [30, 35, 33, 50]))
    assert found.size_r_with_zeros == pytest.approx(
        statistics.correlation([1, 2.5, 0, 7.5, 13.2], [30, 35, 36, 33, 50])
    )
    constant = found.correlation("ARC", "Average score")
    assert constant is not None and constant.r is None  # ARC is the same in every row


def test_repeated_rows_count_unless_told_otherwise(tmp_path: Path) -> None:
    table = [kaggle_row("a", "40"), kaggle_row("a", "50", precision="8bit"), kaggle_row("b", "30")]
    every, unique = described(tmp_path, *table), described(tmp_path, *table, unique=True)
    assert (every.models, len(every.entries), every.columns[0].statistics["mean"]) == (2, 3, 40)
    assert (unique.models, len(unique.entries), unique.columns[0].statistics["mean"]) == (2, 2, 35)
    assert [each.model for each in unique.repeated] == ["a"]
    text = "\n".join(description_lines(unique))
    assert "3 rows, 2 models; scores in per cent; 2 rows described, each model once" in text.replace("\n", " ")
    assert "a: lines 2, 3, averages 10.00 apart; line 2 counts" in text


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    rows = [
        kaggle_row("a", license="", type="", MMLU="n/a"),
        *(kaggle_row(f"b{n}", license="unknown") for n in range(3)),
    ]
    found = described(tmp_path, *rows)
    assert {name: len(entries) for name, entries in found.missing.items()} == {"MMLU": 1, "type": 1, "license": 4}
    lines = description_lines(found)
    start = lines.index("Missing:")
    assert lines[start + 1 : start + 4] == [
        "  MMLU     1 row: a (line 2)",
        "  type     1 row: a (line 2)",
        "  license  4 rows: a (line 2), b0 (line 3) and 2 more",
    ]
    data = description_json(found, [])
    assert data["missing"]["type"] == [{"model": "a", "line": 2}] and len(data["missing"]["license"]) == 4  # type: ignore[call-overload,index,arg-type]  # JSON


def test_nothing_missing_is_said(tmp_path: Path) -> None:
    assert "Missing: nothing" in description_lines(described(tmp_path, kaggle_row()))


def test_many_contradictions_name_some_and_the_factor(tmp_path: Path) -> None:
    found = described(tmp_path, *(kaggle_row(f"m-{size}b", size=str(size / 1.2)) for size in (7, 13, 30, 40, 65, 70)))
    text = "\n".join(description_lines(found))
    assert "Sizes that contradict the name: 6 rows" in text and "m-7b (line 2): 5.83B, its name says 7B" in text
    assert "most names give 1.20 times what #Params (B) gives" in text and "... and 1 more" in text


def test_what_steers_a_terminal_is_taken_out_of_names(tmp_path: Path) -> None:
    found = described(tmp_path, kaggle_row("a\x1b[31m", "1"), kaggle_row("a\x1b[31m", "2"))
    assert "\x1b" not in "\n".join(description_lines(found))


def test_json_says_all_of_it(tmp_path: Path) -> None:
    table = [
        *rows(),
        *(kaggle_row(f"r{number}") for number in range(8)),
        *(kaggle_row(f"r{number}") for number in range(8)),
    ]
    data = json.loads(json.dumps(description_json(described(tmp_path, *table), ["a.png"]), allow_nan=False))
    assert (data["rows"], data["models"], data["figures"]) == (21, 13, ["a.png"])
    assert len(data["repeated"]) == 8
    assert data["columns"]["Average score"]["n"] == 21 and data["columns"]["#Params (B)"]["missing"] == 1
    assert {"one": "Average score", "other": "ARC", "n": 21, "r": None} in data["correlations"]


REAL = Path(__file__).parents[4] / "shared" / "data" / "leaderboard"


@pytest.mark.skipif(not REAL.is_dir(), reason="the public leaderboards are not here")
def test_the_public_table_in_two_shapes() -> None:
    kaggle = describe(read_leaderboard(REAL / "open-llm-performance-shaped.csv"))
    board = describe(read_leaderboard(REAL / "open-llm-leaderboard-v1-to-2023-10.csv"))
    for found, average in ((kaggle, "Average score"), (board, "Average")):
        assert (len(found.entries), found.models) == (1527, 1475)
        assert sum(len(each.others) for each in found.repeated) == 52
        columns = {column.title: column for column in found.columns}
        assert columns["ARC"].statistics["mean"] == pytest.approx(49.395, abs=5e-4)
        assert (columns["#Params (B)"].missing, columns[average].n) == (215, 1527)
        pair = found.correlation("ARC", "MMLU")
        assert pair is not None and pair.r == pytest.approx(0.919, abs=5e-4)
    assert kaggle.columns[0].statistics["mean"] == pytest.approx(52.152, abs=5e-4)
    assert kaggle.size_r_with_zeros == pytest.approx(0.499, abs=5e-4)
    assert sum(bool(entry.flagged) for entry in board.entries) == 6


@pytest.mark.skipif(not REAL.is_dir(), reason="the public leaderboards are not here")
def test_the_public_table_whose_sizes_are_in_another_unit() -> None:
    found = describe(read_leaderboard(REAL / "leaderboard-2023-05-31.csv"))
    assert len(found.entries) == 83 and found.size_factor == pytest.approx(1.2, abs=0.01)


def test_names_in_another_case_are_one_model(tmp_path: Path) -> None:
    assert described(tmp_path, board_row("Org/A"), board_row("org/a")).models == 1
