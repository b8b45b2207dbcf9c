"""The examples do what they say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bench import Bench

EXAMPLES = Path(__file__).parents[2] / "examples"


def _copy(bench: Bench, name: str) -> None:
    shutil.copytree(EXAMPLES / name, bench.path, dirs_exist_ok=True)


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "parallel"])
def test_the_extension_adds_a_backend_a_metric_a_check_and_a_sink(bench: Bench, workers: list[str]) -> None:
    if workers:
        pytest.importorskip("xdist")
    _copy(bench, "extension")
    result = bench.run(
        "--llm-models=parrot,loud=parrot+shout=yes",
        "--llm-prompts=prompts.yaml",
        "--llmci-sink=tsv",
        *workers,
        fresh=True,
    )
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["Saved in llmci-results/latest (results.csv, summary.csv, log.jsonl, models.tsv)"])
    assert (bench.latest / "models.tsv").read_text().startswith("model\trounds\tlatency\n")
    assert "\nparrot\t6\t" in (bench.latest / "models.tsv").read_text()
    block = bench.records("rounds")[0]
    assert len(block["values"]["voluntary_switches"]) == 3
    assert "voluntary_switches" in (bench.latest / "results.csv").read_text().splitlines()[0]
    assert bench.records("header")[0]["environment"]["team"] == "aviary"


def test_the_extension_adds_a_plot(bench: Bench) -> None:
    pytest.importorskip("matplotlib")
    _copy(bench, "extension")
    bench.run("--llm-models=parrot", "--llm-prompts=prompts.yaml", "--llmci-sink=plots", fresh=True).assert_outcomes(
        passed=2
    )
    assert "words in an answer" in (bench.latest / "plots" / "words.svg").read_text("utf-8")


def test_own_tests_run_armed_and_skip_unarmed(bench: Bench) -> None:
    _copy(bench, "own_tests")
    bench.run().assert_outcomes(passed=1, skipped=4)
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", fresh=True).assert_outcomes(passed=7)
