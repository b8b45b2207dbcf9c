from __future__ import annotations

from pathlib import Path

import pytest
from leaderboards import board_row, kaggle_row, write_table

from pytest_llmci.errors import ConfigError
from pytest_llmci.leaderboard.published import PublishedScores, read_published
from pytest_llmci.records import ModelSpec, PublishedScore
from pytest_llmci.settings import Sourced
from pytest_llmci.specs import parse_spec, read_list


def spec(text: str) -> ModelSpec:
    return parse_spec(text, ["hf", "transformers", "smollm2", "tiny"], "here")


def of(folder: Path, *rows: dict[str, str]) -> PublishedScores:
    write_table(folder / "board.csv", rows)
    return read_published([Sourced("board.csv", "--llmci-scores")], lambda origin: folder)


def value(scores: PublishedScores, text: str) -> float | None:
    found = scores.find(spec(text))
    return None if found is None else found.value


def test_the_papers_own_five() -> None:
    scores = read_published([Sourced("paper", "x")], lambda origin: Path("/nowhere"))
    texts = [text for text, _ in read_list("paper", "x", Path())]
    assert [value(scores, text) for text in texts] == [31, 25, 42, 40, 39]
    found = scores.find(spec(texts[0]))
    assert found == PublishedScore(value=31, source="paper", name="distilgpt2", note="score")
    assert scores.find(spec("TinyLlama/TinyLlama-1.1B-Chat-v1.0")) is None, "another model than the paper's"


def test_a_repository_is_found_by_its_whole_name(tmp_path: Path) -> None:
    scores = of(tmp_path, kaggle_row("Org/Model-1b", "41.5"), kaggle_row("model-2b", "50"))
    assert value(scores, "hf:org/model-1B@main+dtype=bfloat16") == 41.5
    assert value(scores, "other/Model-1b") is None
    assert value(scores, "org/model-2b") is None, "the file's model-2b may be anybody's"
    assert value(scores, "model-2b") == 50


def test_an_alias_counts_where_the_user_gave_it_or_there_is_no_repository(tmp_path: Path) -> None:
    scores = of(tmp_path, {"model": "mine", "score": "33"}, {"model": "tiny", "score": "12"})
    assert value(scores, "mine=hf:org/x") == 33
    assert value(scores, "hf:org/mine") is None
    assert value(scores, "./folder/mine") == 33
    assert value(scores, "tiny") == 12
    assert value(scores, "other=tiny") is None


def test_the_row_of_the_commit_that_runs(tmp_path: Path) -> None:
    first, second = (
        board_row("org/a", "40", sha="aaaaaaaaaa"),
        board_row("org/a", "44", sha="bbbbbbbbbb", precision="8bit"),
    )
    scores = of(tmp_path, *({**row, "Flagged": ""} for row in (first, second)))
    same = scores.find(spec("org/a@bbbbbbbbbb"))
    assert same is not None and (same.value, same.note) == (44, "Average, evaluated in 8bit")
    other = scores.find(spec("org/a@cccccccccc"))
    assert other is not None and (other.value, other.note) == (40, "Average, of the commit aaaaaaa, not ccccccc")
    assert scores.find(spec("org/a")) == PublishedScore(value=40, source="board.csv", name="org/a", note="Average")


def test_a_doubtful_score_says_so(tmp_path: Path) -> None:
    scores = of(tmp_path, {**board_row("org/a"), "Flagged": "True"})
    found = scores.find(spec("org/a"))
    assert found is not None and found.note == "Average, flagged by the board"


def test_a_row_without_a_score_is_no_score(tmp_path: Path) -> None:
    scores = of(tmp_path, kaggle_row("org/a", "n/a"), kaggle_row("org/b", "0"))
    assert scores.find(spec("org/a")) is None
    assert value(scores, "org/b") == 0, "zero is a score"


def test_the_first_table_that_has_one_counts(tmp_path: Path) -> None:
    write_table(tmp_path / "one.csv", [kaggle_row("org/a", "1")])
    write_table(tmp_path / "two.csv", [kaggle_row("org/a", "2"), kaggle_row("org/b", "3")])
    scores = read_published([Sourced("one.csv", "x"), Sourced("two.csv", "x")], lambda origin: tmp_path)
    assert (value(scores, "org/a"), value(scores, "org/b")) == (1, 3)


def test_the_summary_counts_names_the_nearest_and_what_was_assumed(tmp_path: Path) -> None:
    scores = of(tmp_path, {"model": "org/model", "score": "0.4"}, {"model": "tiny", "score": "0.2"})
    lines = scores.summary([spec("org/modell"), spec("tiny"), spec("smollm2")])
    assert lines[0] == "published scores of board.csv: 1 of 3 models (no 'org/modell'; nearest is 'org/model')"
    assert lines[1] == "board.csv: no score is above 1: read as fractions and shown in per cent"


def test_paths_start_where_they_were_written_and_faults_name_the_option(tmp_path: Path) -> None:
    (tmp_path / "settings").mkdir()
    write_table(tmp_path / "settings" / "a.csv", [kaggle_row("org/a", "1")])
    places = {"--llmci-scores": tmp_path, "pyproject.toml: llmci_scores": tmp_path / "settings"}
    scores = read_published([Sourced("a.csv", "pyproject.toml: llmci_scores")], places.__getitem__)
    assert value(scores, "org/a") == 1
    with pytest.raises(ConfigError, match=r"^--llmci-scores: .*a\.csv: cannot be read"):
        read_published([Sourced("a.csv", "--llmci-scores")], places.__getitem__)
