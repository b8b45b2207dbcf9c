from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from leaderboards import board_row, kaggle_row, write_table

from pytest_llmci.errors import ConfigError
from pytest_llmci.leaderboard.read import read_leaderboard
from pytest_llmci.leaderboard.table import Leaderboard


def read(path: Path, *rows: dict[str, str]) -> Leaderboard:
    return read_leaderboard(write_table(path / "table.csv", rows))


def noted(board: Leaderboard, text: str) -> str:
    return next(note for note in board.notes if text in note)


def test_the_kaggle_shape(tmp_path: Path) -> None:
    board = read(tmp_path, kaggle_row("org/a-1b", "40.5", likes="1,234"), kaggle_row("org/b", "39.5", size="2.7"))
    assert (board.average, board.size, board.likes) == ("Average score", "#Params (B)", "No. of Likes")
    assert board.benchmarks == ("ARC", "HellaSwag", "MMLU", "TruthfulQA")
    assert board.not_read == ()
    first, second = board.entries
    assert (first.model, first.average, first.size_b, first.likes, first.line) == ("org/a-1b", 40.5, 1.1, 1234, 2)
    assert first.scores == {"ARC": 30.5, "HellaSwag": 50.25, "MMLU": 26.0, "TruthfulQA": 41.0}
    assert (second.type, second.precision, second.license) == ("pretrained", "float16", "apache-2.0")
    assert board.notes == () and not board.whole_sizes


def test_the_shape_of_the_open_llm_leaderboard(tmp_path: Path) -> None:
    board = read(tmp_path, board_row("org/a", on_hub="False", sha="abc", weights="Adapter"))
    assert (board.average, board.likes, board.not_read) == ("Average", "Hub likes", ("T",))
    assert board.benchmarks[-2:] == ("Winogrande", "GSM8K")
    (entry,) = board.entries
    assert (entry.type, entry.revision, entry.weights, entry.on_hub) == ("pretrained", "abc", "Adapter", False)
    assert entry.time is not None and entry.time.year == 2023


def test_the_early_shape_with_shots_and_a_row_that_is_no_model(tmp_path: Path) -> None:
    row = {
        "Model": "llama-65b",
        "Average": "58.3",
        "ARC (25-shot)": "57.8",
        "MMLU (5-shot)": "48.8",
        "Parameters": "65",
    }
    board = read(tmp_path, row, {**row, "Model": "Baseline", "Average": "25"}, {**row, "Model": " "})
    assert board.benchmarks == ("ARC", "MMLU")
    assert [entry.model for entry in board.entries] == ["llama-65b"]
    assert noted(board, "Baseline") == "no model, left out: 'Baseline' (line 3)"
    assert noted(board, "name") == "1 row without a model's name left out: line 4"


def test_the_second_version_prefers_the_full_name_and_leaves_raw_scores(tmp_path: Path) -> None:
    board = read(
        tmp_path,
        {"Model": '<a href="x">a</a>', "fullname": "org/a", "Average ⬆️": "20", "IFEval Raw": "0.4", "IFEval": "40"},
    )
    assert board.entries[0].model == "org/a"
    assert board.entries[0].scores == {"IFEval": 40}
    assert board.not_read == ("Model", "IFEval Raw")


def test_a_licence_written_as_a_list(tmp_path: Path) -> None:
    assert read(tmp_path, board_row(license="['mit']")).entries[0].license == "mit"


def test_a_file_of_two_columns(tmp_path: Path) -> None:
    board = read(tmp_path, {"model": "tiny", "score": "31"})
    assert (board.entries[0].average, board.benchmarks, board.size) == (31, (), "")


def test_without_averages_they_are_computed_where_a_row_has_all_scores(tmp_path: Path) -> None:
    board = read(tmp_path, {"Model": "a", "ARC": "30", "MMLU": "50"}, {"Model": "b", "ARC": "30", "MMLU": ""})
    assert [entry.average for entry in board.entries] == [40, None]
    assert "computed from ARC, MMLU" in noted(board, "averages")


def test_fractions_are_shown_in_per_cent_and_said(tmp_path: Path) -> None:
    board = read(
        tmp_path, {"Model": "a", "Average": "0.5", "ARC": "0.25"}, {"Model": "b", "Average": "0.29", "ARC": "n/a"}
    )
    assert board.scale == "fraction"
    assert [entry.average for entry in board.entries] == [50, 29]
    assert board.entries[0].scores == {"ARC": 25} and board.entries[1].scores == {}
    assert "read as fractions" in noted(board, "fractions")


def test_one_small_column_among_percentages_stays_per_cent_and_is_said(tmp_path: Path) -> None:
    board = read(tmp_path, kaggle_row("a", MMLU="0.3"), kaggle_row("b", MMLU="0.9"))
    assert board.entries[1].scores["MMLU"] == 0.9
    assert noted(board, "MMLU").endswith("read as per cent")


def test_per_cent_signs_win_over_the_scale(tmp_path: Path) -> None:
    board = read(tmp_path, {"Model": "a", "Average": "0.5 %"}, {"Model": "b", "Average": "0.5"})
    assert [entry.average for entry in board.entries] == [0.5, 50]


def test_what_cannot_be_read_is_missing_and_named(tmp_path: Path) -> None:
    board = read(
        tmp_path,
        kaggle_row("a", MMLU="712", size="huge", likes="many"),
        kaggle_row("b", MMLU="-3", ARC="best", size="NaN"),
    )
    assert [entry.scores.get("MMLU") for entry in board.entries] == [None, None]
    assert noted(board, "MMLU") == "MMLU: 2 cells cannot be read, counted as missing: '712' (line 2), '-3' (line 3)"
    assert "'huge' (line 2)" in noted(board, "#Params (B): 1 cell cannot")
    assert "'best' (line 3)" in noted(board, "ARC") and "'many' (line 2)" in noted(board, "Likes")


def test_unknown_and_whole_sizes_are_said(tmp_path: Path) -> None:
    board = read(tmp_path, *(kaggle_row(f"m{size}", size=size) for size in ("0", "-1", "nan", "6", "13")))
    assert [entry.size_b for entry in board.entries] == [None, None, None, 6, 13]
    assert "3 rows" in noted(board, "do not know")
    assert board.whole_sizes and "from 6 up to 7" in noted(board, "whole billions")


def test_an_archive_that_flags_nearly_all_is_read_the_other_way(tmp_path: Path) -> None:
    board = read(tmp_path, board_row("bad", flagged="False"), *(board_row(f"m{number}") for number in range(30)))
    assert [entry.model for entry in board.entries if entry.flagged] == ["bad"]
    assert "true in 30 of 31 rows: read as 'not flagged', which leaves 1" in noted(board, "Flagged")


def test_a_short_table_and_one_with_some_flags_are_taken_at_their_word(tmp_path: Path) -> None:
    board = read(tmp_path, board_row("a"), board_row("b", flagged="False"))
    assert [entry.flagged for entry in board.entries] == [True, False]
    assert all(entry.flagged for entry in read(tmp_path, *(board_row(f"m{number}") for number in range(5))).entries)
    rows = [board_row(f"m{number}", flagged=str(number % 2 == 0)) for number in range(30)]
    assert sum(bool(entry.flagged) for entry in read(tmp_path, *rows).entries) == 15


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_separators(tmp_path: Path, delimiter: str) -> None:
    path = write_table(
        tmp_path / "a.csv", [kaggle_row(type="chat models (RLHF, DPO)", average="40,5")], delimiter=delimiter
    )
    (entry,) = read_leaderboard(path).entries
    assert (entry.average, entry.type) == (40.5, "chat models (RLHF, DPO)")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_that_say_what_they_are(tmp_path: Path, encoding: str) -> None:
    path = write_table(tmp_path / "a.csv", [board_row("org/modèle")], encoding=encoding)
    assert read_leaderboard(path).entries[0].model == "org/modèle"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_leaderboard(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; expected a CSV file with a header line"),
        (b"\n \n", "is empty"),
        (b"Model,Average\n", "has no rows below its header"),
        (b"Model,Average\n,40\n", "the column 'Model' is empty in every row"),
        (b"Model,Average\na,40,1\n", "line 2: 3 cells, but the header has 2"),
        (b'Model,Average\n"a,40\n', "line 2: not valid CSV"),
        (b"Model,Average\n\xe9,40\n", "byte 0xe9 at position 14 is no UTF-8; save the file as UTF-8, or convert it"),
        (b"PK\x03\x04rest", "is an Excel workbook or archive; export the table as CSV"),
        (b"PAR1rest", "is a Parquet file"),
        (b"Model,Average\na\0,40\n", "holds zero bytes"),
        (b"Model,Average,Average\na,1,2\n", "the column 'Average' stands twice"),
        (b"Model,ARC,ARC (25-shot)\na,1,2\n", "the column 'ARC' stands twice"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert words in refusal(path)


def test_a_strange_file_is_told_what_was_found_and_expected(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", [{"city": "Rome", "score": "1"}])
    text = refusal(path)
    assert "no column of model names among 'city', 'score'" in text
    assert "'model_name_for_query' or 'Model'" in text and "'Average score'" in text
    path = write_table(tmp_path / "a.csv", [{"Model": "a", **{f"c{number}": "1" for number in range(20)}}])
    assert "no column of scores among 'Model', 'c0', " in refusal(path) and ", ...; expected" in refusal(path)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write_table(tmp_path / "scores.csv", [kaggle_row()])
    assert f"Did you mean '{tmp_path / 'scores.csv'}'?" in refusal(tmp_path / "score.csv")
    assert "cannot be read" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "no" / "where.csv")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", [kaggle_row()])
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_a_refused_file_leaves_the_limit_of_the_csv_module_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("colour,taste\nred,sweet\n", encoding="utf-8")
    before = csv.field_size_limit()
    with pytest.raises(ConfigError) as refusal:
        read_leaderboard(path)
    assert csv.field_size_limit() == before, "while the exception, and with it its frames, are still alive"
    assert "colour" in str(refusal.value)
