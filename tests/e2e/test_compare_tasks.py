"""Answers to benchmark tasks against a baseline, and against another run."""

from __future__ import annotations

import json
import re

import pytest
from bench import Bench, unwrapped

from pytest_llmci.cli.main import main


def rows(count: int, gold: int = 0) -> str:
    made = [
        {"query": f"What is number {n}?", "choices": [f"thing {n} {c}" for c in range(4)], "gold": (n + gold) % 4}
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in made)


def ask(bench: Bench, *args: str, models: str = "m=echo") -> pytest.RunResult:
    return bench.run(f"--llm-models={models}", "--llmci-suite=mine.jsonl", *args)


def test_a_model_that_answers_otherwise_is_compared_question_by_question(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(120))
    saved = ask(bench, "--llmci-save-baseline")
    saved.assert_outcomes(passed=1)
    assert re.search(r"Baseline main saved in \S+ \(1 benchmark task\): commit it", unwrapped(saved))
    same = ask(bench, "--llmci-baseline")
    same.assert_outcomes(passed=1)
    same.stdout.fnmatch_lines(  # wrapped, as the terminal is narrow
        ["m-mine against main: pass: acc *", "*changed sides; counted,*"]
    )
    for scores, right, verdict in (("e", 21, "regressed"), ("f", 37, "pass")):  # 26 of the baseline's were right
        result = ask(bench, "--llmci-baseline", models=f"m=echo:+scores={scores}")
        [task] = bench.results()["tasks"]
        [compared] = task["comparisons"]
        assert compared["verdict"] == verdict and task["verdict"] == ("pass" if verdict == "pass" else "failed")
        assert compared["mode"] == "exact" and compared["rounds"] == 120 and compared["improved"] is (verdict == "pass")
        assert compared["base"] == pytest.approx(100 * 26 / 120) and compared["candidate"] == pytest.approx(
            100 * right / 120
        )
        if verdict == "regressed":
            result.assert_outcomes(failed=1)
            result.stdout.fnmatch_lines(
                ["RegressionDetected: score against main: acc 21.7 % -> 17.5 %*", "* lost, * won*"]
            )


def test_numbers_that_do_not_repeat_are_tested_and_not_counted(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(120))
    ask(bench, "--llmci-save-baseline", models="m=echo:+scores=~").assert_outcomes(passed=1)
    result = ask(bench, "--llmci-baseline", models="m=echo:+scores=~")
    result.assert_outcomes(passed=1)
    [compared] = bench.results()["tasks"][0]["comparisons"]
    assert compared["mode"] == "saved" and compared["p_value"] == 1.0
    assert "the reference and this run did not repeat to the last bit" in compared["reason"]


def test_other_questions_are_not_comparable_which_is_no_pass(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(40))
    ask(bench, "--llmci-save-baseline").assert_outcomes(passed=1)
    limited = ask(bench, "--llmci-baseline", "--llmci-limit=30")
    limited.stdout.fnmatch_lines(["m-mine against main: not comparable: other questions: 40 questions -> 30 of 40*"])
    assert bench.results()["tasks"][0]["verdict"] == "inconclusive" and limited.ret == 0
    strict = ask(bench, "--llmci-baseline", "--llmci-limit=30", "--llmci-inconclusive=fail")
    strict.assert_outcomes(failed=1)
    new = ask(bench, "--llmci-baseline", models="other=echo")
    new.stdout.fnmatch_lines(["other-mine against main: new: main has no answers of other to mine"])


def test_llmci_compare_has_the_tasks_of_two_runs(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.write("mine.jsonl", rows(120))
    ask(bench, "--llmci-save-baseline=x").assert_outcomes(passed=1)
    ask(bench, "--llmci-save-baseline=y", models="m=echo:+scores=~").assert_outcomes(passed=1)
    output = str(bench.path / "llmci-results")
    capsys.readouterr()
    assert main(["compare", "latest~1", "latest", "--output", output]) == 0
    said = capsys.readouterr().out
    assert "answers     m-mine: acc 21.7 % -> 21.7 % over 120 questions" in said and "1 benchmark task" in said
    assert main(["compare", "latest", "latest", "--output", output, "--json"]) == 0
    [cell] = json.loads(capsys.readouterr().out)["cells"]
    assert cell["comparisons"][0]["metric"] == "score" and cell["verdict"] == "pass"


def test_llmci_compare_tells_a_task_that_was_lost(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.write("mine.jsonl", rows(20))
    bench.write("yours.jsonl", rows(20, 1))
    bench.run("--llm-models=m=echo", "--llmci-suite=mine.jsonl,yours.jsonl").assert_outcomes(passed=2)
    ask(bench).assert_outcomes(passed=1)
    capsys.readouterr()
    assert main(["compare", "latest~1", "latest", "--output", str(bench.path / "llmci-results")]) == 1
    assert "yours" in capsys.readouterr().out
