from __future__ import annotations

from pathlib import Path

import pytest
from leaderboards import board_row, kaggle_row, write_table

from pytest_llmci.leaderboard.read import read_leaderboard
from pytest_llmci.leaderboard.repeats import find_repeated, one_a_model
from pytest_llmci.leaderboard.sizes import common_factor, contradictions, size_of


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        ("org/a", "1.1", "1.1B"),
        ("org/a-125m", "0", "125M"),
        ("org/a", "0", None),
        ("org/a-7b", "7.24", "7.24B"),
        ("org/a-40b", "33.33", "33.3 to 40B"),
        ("org/a-7b", "1.1", "1.1 to 7B"),
    ],
)
def test_the_size_of_a_model(tmp_path: Path, name: str, written: str, expected: str | None) -> None:
    path = write_table(tmp_path / "a.csv", [kaggle_row(name, size=written), kaggle_row("x", size="1.5")])
    board = read_leaderboard(path)
    size = size_of(board.entries[0], board)
    assert (None if size is None else str(size)) == expected


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        ("a", "6", "6 to 7B"),
        ("a-7b", "6", "6 to 7B"),
        ("a-6.7b", "6", "6.7B"),
        ("a-13b", "16", "13 to 17B"),
        ("a-125m", "0", "125M"),
    ],
)
def test_where_sizes_are_whole_billions(tmp_path: Path, name: str, written: str, expected: str) -> None:
    path = write_table(tmp_path / "a.csv", [board_row(name, size=written), board_row("x", size="30")])
    board = read_leaderboard(path)
    assert str(size_of(board.entries[0], board)) == expected


def test_a_column_in_another_unit_shows_by_its_factor(tmp_path: Path) -> None:
    rows = [kaggle_row(f"m-{size}b", size=str(size / 1.2)) for size in (7, 13, 30, 40, 65)]
    board = read_leaderboard(write_table(tmp_path / "a.csv", rows))
    found = contradictions(board.entries, board)
    assert len(found) == 5
    assert common_factor(found) == pytest.approx(1.2)
    assert common_factor(found[:4]) is None


def test_single_slips_have_no_factor(tmp_path: Path) -> None:
    rows = [kaggle_row(f"m-{size}b", size=str(told)) for size, told in ((7, 1.1), (13, 16), (30, 3), (40, 64), (65, 5))]
    board = read_leaderboard(write_table(tmp_path / "a.csv", rows))
    assert len(contradictions(board.entries, board)) == 5
    assert common_factor(contradictions(board.entries, board)) is None


def kept(tmp_path: Path, *rows: dict[str, str]) -> int:
    """Line of the row that counts."""
    board = read_leaderboard(write_table(tmp_path / "a.csv", rows))
    (repeated,) = find_repeated(board.entries)
    assert one_a_model(board.entries) == [repeated.kept]
    return repeated.kept.line


def test_full_precision_goes_before_the_newest(tmp_path: Path) -> None:
    old, new = "2023-09-01T00:00:00Z", "2023-10-01T00:00:00"
    assert (
        kept(tmp_path, board_row("a", precision="8bit", date=new), board_row("A", precision="bfloat16", date=old)) == 3
    )
    assert kept(tmp_path, board_row("a", date=old), board_row("a", date=new)) == 3
    assert kept(tmp_path, board_row("a", date=new), board_row("a", date=old)) == 2


def test_then_the_lower_average_and_the_first_row(tmp_path: Path) -> None:
    assert kept(tmp_path, kaggle_row("a", "41"), kaggle_row("a", "40"), kaggle_row("a", "42")) == 3
    assert kept(tmp_path, kaggle_row("a", ""), kaggle_row("a", "40")) == 3
    assert kept(tmp_path, kaggle_row("a"), kaggle_row("a")) == 2


def test_order_stays_and_spread_is_told(tmp_path: Path) -> None:
    rows = [kaggle_row("b", "42"), kaggle_row("a"), kaggle_row("B", "40")]
    board = read_leaderboard(write_table(tmp_path / "a.csv", rows))
    assert [entry.line for entry in one_a_model(board.entries)] == [3, 4]
    assert find_repeated(board.entries)[0].spread == 2
