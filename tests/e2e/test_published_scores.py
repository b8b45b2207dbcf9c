"""``--llmci-scores``: published scores beside the results, marked as published, with and without pytest-xdist."""

from __future__ import annotations

import csv

import pytest
from bench import Bench

from pytest_llmci.cli.main import main

TABLE = "model,score\nechoing,31.5\nnobody,40\n"
MODELS = "echoing=echo,tiny=echo"


def summary(bench: Bench) -> dict[str, tuple[str, str]]:
    with (bench.latest / "summary.csv").open(encoding="utf-8", newline="") as stream:
        return {row["model"]: (row["benchmark_score"], row["benchmark_score_source"]) for row in csv.DictReader(stream)}


@pytest.mark.parametrize("more", [(), ("-n2",)], ids=["alone", "xdist"])
def test_scores_are_joined_and_marked(bench: Bench, more: tuple[str, ...]) -> None:
    bench.write("board.csv", TABLE)
    result = bench.suite(MODELS, "--llmci-scores=board.csv", *more, fresh=bool(more))
    assert result.ret == 0
    result.stdout.fnmatch_lines_random([
        "llmci: published scores of board.csv: 1 of 2 models",
        "model * score *valid",
        "*echoing *(31.5) *",
        "*tiny *n/a *",
        "score: per cent; in brackets as published (board.csv), not measured here.",
    ])  # fmt: skip
    assert summary(bench) == {"echoing": ("31.5", "published: board.csv"), "tiny": ("", "")}
    scores = {model["alias"]: model["published_score"] for model in bench.results()["models"]}
    assert scores == {
        "echoing": {"value": 31.5, "source": "board.csv", "name": "echoing", "note": "score"},
        "tiny": None,
    }


def test_the_log_alone_gives_them_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    board = bench.write("board.csv", TABLE)
    bench.suite(MODELS, "--llmci-scores=board.csv")
    before = (bench.latest / "summary.csv").read_bytes()
    board.unlink()
    monkeypatch.chdir(bench.path)
    assert main(["report", "latest"]) == 0
    assert (bench.latest / "summary.csv").read_bytes() == before


def test_what_a_model_is_compared_with_has_no_score_of_it(bench: Bench) -> None:
    bench.write("board.csv", TABLE)
    bench.suite(
        "echoing=echo+ttft=1ms",
        "--llmci-versus=echo+ttft=1ms",
        "--llmci-scores=board.csv",
        "--llmci-max-rounds=2",
        "-k",
        "first",
    )
    found = {(record["role"], record["published"] is not None) for record in bench.records("worker")}
    assert found == {("timing", True), ("reference", False)}


def test_without_the_option_nothing_is_shown(bench: Bench) -> None:
    result = bench.suite("echo")
    result.stdout.no_fnmatch_line("*published*")
    assert summary(bench) == {"echo": ("", "")}


def test_a_file_that_cannot_be_read_is_a_usage_error_before_anything_loads(bench: Bench) -> None:
    bench.write("board.csv", TABLE)
    result = bench.suite("echo", "--llmci-scores=bord.csv")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --llmci-scores: *bord.csv: cannot be read: No such file*Did you mean*board.csv'*"]
    )
    assert not bench.latest.exists()


def test_settings_may_name_the_table(bench: Bench) -> None:
    bench.write("board.csv", "model,score\necho,12\n")
    bench.write("pytest.ini", "[pytest]\nllmci_scores = board.csv\n")
    assert bench.suite("echo").ret == 0
    assert summary(bench) == {"echo": ("12.0", "published: board.csv")}
