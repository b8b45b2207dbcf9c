"""Benchmark tasks as tests: what is asked, counted, shown, gated, and what becomes of everything that is wrong."""

from __future__ import annotations

import csv
import io
import json
import sys
import textwrap
from typing import Any

import pytest
from bench import Bench
from harness_task import write_harness_task

WHOLE_ARC = 1172


def rows(count: int, choices: int = 4) -> str:
    """Questions in the query form; scripted models answer them at random."""
    made = [
        {"query": f"Question: What is number {n}?", "choices": [f"thing {n} {c}" for c in range(choices)], "gold": n % choices}
        for n in range(count)
    ]  # fmt: skip
    return "".join(json.dumps(row) + "\n" for row in made)


def ask(bench: Bench, *args: str, models: str = "echo") -> pytest.RunResult:
    return bench.run(f"--llm-models={models}", *args)


def summary(bench: Bench) -> dict[str, str]:
    [row] = csv.DictReader(io.StringIO((bench.latest / "summary.csv").read_bytes().decode(), newline=""))
    return row


def questions(bench: Bench) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((bench.latest / "questions.csv").read_bytes().decode(), newline="")))


def test_a_slice_is_labelled_everywhere_and_is_no_score(bench: Bench) -> None:
    bench.write("some.jsonl", rows(100))
    result = ask(bench, "--llmci-suite=arc_challenge:some.jsonl", "--llmci-limit=70")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "llmci: arc_challenge: 70 of 1172 questions, --llmci-limit=70, from some.jsonl, a*",
            "arc_challenge::echo *.*",
            "arc_challenge   echo    70          acc * ± *, acc_norm * ± *   part",
            "part: no score of the benchmark. arc_challenge: 70 of 1172 questions,*",
        ]
    )
    assert summary(bench)["benchmark_score"] == summary(bench)["benchmark_score_source"] == ""
    [task] = bench.results()["tasks"]
    assert task["asked"]["whole"] is False and task["asked"]["label"] == "70 of 1172 questions, --llmci-limit=70"
    assert task["answered"] == 70 and task["metrics"]["acc"]["n"] == 70
    [model] = bench.results()["models"]
    reason = model["metrics"]["score"]["reason"]
    assert reason == "no whole benchmark was run (arc_challenge: 70 of 1172 questions, --llmci-limit=70)"
    asked = questions(bench)
    assert [int(row["index"]) for row in asked] == list(range(70))
    assert {row["whole"] for row in asked} == {"false"}
    right = sum(float(row["acc"]) for row in asked)
    assert right / 70 == pytest.approx(task["metrics"]["acc"]["value"])
    for row in asked:
        scores = [float(number) for number in row["logprobs"].split()]
        assert len(scores) == 4 and int(row["prediction"]) == scores.index(max(scores))
        assert (row["prediction"] == row["gold"]) == (row["acc"] == "1.0")


def test_a_whole_benchmark_has_a_score_that_is_shown_plain_beside_published_ones(bench: Bench) -> None:
    bench.write("arc_challenge.jsonl", rows(WHOLE_ARC))
    bench.write("board.csv", "Model,Average\necho,55.5\nother,44.4\n")
    result = ask(bench, "--llmci-suite=arc_challenge", f"--llmci-task-data={bench.path}", "--llmci-scores=board.csv")
    result.assert_outcomes(passed=1)
    row = summary(bench)
    [task] = bench.results()["tasks"]
    assert float(row["benchmark_score"]) == pytest.approx(100 * task["metrics"]["acc_norm"]["value"])
    assert row["benchmark_score_source"] == "measured: arc_challenge acc_norm"
    assert task["asked"]["whole"] is True and "part" not in result.stdout.str()
    records = bench.records("questions")
    assert [record["n"] for record in records] == [64] * 18 + [20]
    assert {record["task"]["source"] for record in records} == {"arc_challenge.jsonl"}


def test_beside_timed_cells_a_measured_score_is_plain_and_a_published_one_in_brackets(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(40))
    bench.write("board.csv", "Model,Average\necho,55.5\n")
    both = ask(
        bench, "--llmci-suite=inference,mine.jsonl", "--llm-prompts=prompts.yaml", "--llmci-rounds=1",
        "--llmci-scores=board.csv",
    )  # fmt: skip
    both.assert_outcomes(passed=3)
    score = float(summary(bench)["benchmark_score"])
    both.stdout.fnmatch_lines(["model *score*", f"echo *{score:.1f} *2/2"])
    assert "(55.5)" not in both.stdout.str() and "as published" not in both.stdout.str()
    limited = ask(
        bench, "--llmci-suite=inference,mine.jsonl", "--llm-prompts=prompts.yaml", "--llmci-rounds=1",
        "--llmci-scores=board.csv", "--llmci-limit=10",
    )  # fmt: skip
    limited.stdout.fnmatch_lines(["echo *(55.5) *2/2", "score: per cent; in brackets as published*"])


def test_without_timed_cells_no_time_is_shown(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(5))
    result = ask(bench, "--llmci-suite=mine.jsonl")
    result.assert_outcomes(passed=1)
    assert "latency" not in result.stdout.str()
    row = summary(bench)
    assert {row[name] for name in ("avg_latency", "min_latency", "max_latency", "avg_memory", "avg_cpu")} == {""}
    assert row["rounds"] == row["cells"] == "0"


def test_mmlu_is_a_test_a_subject_and_one_benchmark(bench: Bench) -> None:
    for subject, count in (("anatomy", 10), ("virology", 30)):
        lines = "".join(f"What is {n}?,a{n},b{n},c{n},d{n},{'ABCD'[n % 4]}\n" for n in range(count))
        bench.write(f"mmlu/test/{subject}_test.csv", lines)
    result = ask(bench, "--llmci-suite=mmlu:mmlu", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["mmlu::echo-anatomy PASSED*", "mmlu::echo-virology PASSED*"])
    result.stdout.fnmatch_lines(["mmlu * echo * 40 * acc * part", "part: *40 of 14042 questions, 2 of 57 subjects."])
    right = sum(float(row["acc"]) for row in questions(bench))
    assert f"acc {100 * right / 40:.1f} ±" in result.stdout.str()
    one = ask(bench, "--llmci-suite=mmlu:mmlu", "mmlu::echo-virology")
    one.assert_outcomes(passed=1, deselected=1)


@pytest.mark.parametrize(("limit", "outcome"), [("score.mine >= 5", "passed"), ("score.mine >= 95%", "failed")])
def test_a_budget_on_a_benchmark_is_decided_by_its_test(bench: Bench, limit: str, outcome: str) -> None:
    bench.write("mine.jsonl", rows(40))
    result = ask(bench, "--llmci-suite=mine.jsonl", f"--llmci-budget={limit}")
    result.assert_outcomes(**{outcome: 1})
    if outcome == "failed":
        result.stdout.fnmatch_lines(
            [
                "BudgetExceeded: score.mine * % < 95 %",
                "*decided *acc over 40 questions, compared as it is",
                "*repeat *pytest --llm-models=echo --llmci-suite=mine.jsonl*",
            ]
        )


def test_a_budget_on_the_mean_is_a_gate_of_the_model(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(40))
    bench.write("yours.jsonl", rows(60, choices=2))
    passed = ask(bench, "--llmci-suite=mine.jsonl,yours.jsonl", "--llmci-budget=echo: score >= 10")
    passed.assert_outcomes(passed=2)
    [gate] = [gate for gate in bench.results()["gates"] if gate["name"] == "score-echo"]
    scores = [100 * task["metrics"]["acc"]["value"] for task in bench.results()["tasks"]]
    assert gate["outcome"] == "passed" and f"mean of 2 benchmarks {sum(scores) / 2:.3g}" in gate["message"]
    failed = ask(bench, "--llmci-suite=mine.jsonl,yours.jsonl", "--llmci-budget=score >= 99")
    failed.assert_outcomes(passed=2, failed=1)
    failed.stdout.fnmatch_lines(["*Gate score-echo failed:*", "*score >= 99 (from --llmci-budget): missed*"])


def test_a_mean_lacks_what_failed(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(10))
    result = ask(bench, "--llmci-suite=mine.jsonl", "--llmci-budget=score >= 1", models="e=echo:+crash=exit:3")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*score >= 1 (from --llmci-budget): mine has no score*"])


def test_a_model_that_dies_has_no_score_and_loses_no_other_batch(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(200))
    result = ask(bench, "--llmci-suite=mine.jsonl", models="e=echo:+crash=exit:3+at=600")  # 4 answers a question
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["WorkerCrashed: e *", "*when *llm.score_many, question 23 of 64*", "mine * e * 128/200 * n/a * failed"]
    )
    [task] = bench.results()["tasks"]
    assert task["metrics"] == {} and task["answered"] == 128 and task["error"]["kind"] == "crashed"
    assert summary(bench)["benchmark_score"] == ""


NOT_A_NUMBER = """
    class Backend:
        def __init__(self, spec): ...
        def load(self, context):
            from pytest_llmci.backends.base import LoadedModel
            return LoadedModel(info={}, footprint_bytes=None, footprint_reason="none")
        def score(self, context, continuation):
            return [float("nan")] if "number 3" in context else [-1.0]
        def close(self): ...
"""


def test_a_log_probability_that_is_no_number_fails_the_task(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(5))
    bench.write("odd.py", textwrap.dedent(NOT_A_NUMBER))
    bench.write(
        "conftest.py",
        "def pytest_llmci_register(registry):\n    registry.add('backend', 'odd', 'odd:Backend')\n",
    )
    result = ask(bench, "--llmci-suite=mine.jsonl", models="odd:x")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*mine.jsonl, line 4: the log-probability of choice 1 is nan, which is no number: the task has no score*"]
    )
    assert bench.results()["tasks"][0]["metrics"] == {}


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("arc_chalenge", "*unknown suite 'arc_chalenge'. Did you mean 'arc_challenge'?*"),
        ("arc_easy:no.jsonl", "*arc_easy: there is no file or folder*no.jsonl."),
        ("broken.jsonl", "*broken.jsonl, line 2: 'gold' is 9, and the 4 choices have the numbers 0 to 3."),
        ("empty.jsonl", "*empty.jsonl: holds no question."),
        ("twice.jsonl", "*twice.jsonl, line 2: repeats line 1*"),
        ("mine.jsonl,folder/mine.jsonl", "*'mine.jsonl' and 'folder/mine.jsonl' would both be called mine."),
        ("mine.jsonl+shots=2", "*mine: +shots=2: its prompt has no examples here*"),
    ],
)
def test_bad_input_is_one_line_before_anything_loads(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, suite: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # it is not installed
    bench.write("mine.jsonl", rows(2))
    bench.write("broken.jsonl", rows(1) + rows(1).replace('"gold": 0', '"gold": 9').replace("number 0", "number 1"))
    bench.write("empty.jsonl", "\n")
    bench.write("twice.jsonl", rows(1) + rows(1))
    result = ask(bench, f"--llmci-suite={suite}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert not (bench.path / "llmci-results").exists()


def test_a_budget_on_a_benchmark_that_does_not_run_is_refused(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(2))
    result = ask(bench, "--llmci-suite=mine.jsonl", "--llmci-budget=score.arc_easy >= 30")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *unknown benchmark task 'arc_easy'. Known: mine."])
    wrong_way = ask(bench, "--llmci-suite=mine.jsonl", "--llmci-budget=score.mine <= 30")
    wrong_way.stderr.fnmatch_lines(["ERROR: *would fail the better models: score is better when higher*"])


def test_answers_that_are_generated(bench: Bench) -> None:
    given = [{"question": f"What is {n}?", "answer": f"It is {n}.\n#### {n}"} for n in range(4)]
    bench.write("gsm.jsonl", "".join(json.dumps(row) + "\n" for row in given))
    result = ask(bench, "--llmci-suite=gsm8k:gsm.jsonl+shots=0", models="e=echo:#### 2")
    result.assert_outcomes(passed=1)
    asked = questions(bench)
    assert [row["exact_match"] for row in asked] == ["0.0", "0.0", "1.0", "0.0"]
    assert {row["output"] for row in asked} == {"#### 2"} and {row["prediction"] for row in asked} == {""}
    redacted = ask(bench, "--llmci-suite=gsm8k:gsm.jsonl+shots=0", "--llmci-redact", models="e=echo:#### 2")
    redacted.assert_outcomes(passed=1)
    assert {row["output"][:7] for row in questions(bench)} == {"sha256:"}
    assert [row["exact_match"] for row in questions(bench)] == ["0.0", "0.0", "1.0", "0.0"]


@pytest.mark.slow
def test_a_task_file_of_the_harness_is_a_benchmark_like_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(bench.path / "cache"))
    write_harness_task(bench, rows(70))
    result = bench.run(
        "--llm-models=echo", "--llmci-suite=colours.yaml", "--llmci-budget=score.colours >= 99", fresh=True
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BudgetExceeded: score.colours * % < 99 %"])
    [task] = bench.results()["tasks"]
    assert task["asked"]["title"].startswith("colours of lm-evaluation-harness") and task["answered"] == 70
    asked = questions(bench)
    assert sum(row["prediction"] == row["gold"] for row in asked) / 70 == pytest.approx(task["metrics"]["acc"]["value"])


def test_parallel_workers_ask_the_same_and_report_the_same(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(70))
    bench.write("yours.jsonl", rows(30))
    alone = ask(bench, "--llmci-suite=mine.jsonl,yours.jsonl")
    alone.assert_outcomes(passed=2)
    before = {task["task"]: task["metrics"] for task in bench.results()["tasks"]}
    parallel = bench.run("--llm-models=echo", "--llmci-suite=mine.jsonl,yours.jsonl", "-n2", fresh=True)
    parallel.assert_outcomes(passed=2)
    assert {task["task"]: task["metrics"] for task in bench.results()["tasks"]} == before
    gated = bench.run(
        "--llm-models=echo",
        "--llmci-suite=mine.jsonl,yours.jsonl",
        "--llmci-budget=score.mine >= 99",
        "-n2",
        fresh=True,
    )
    gated.assert_outcomes(failed=1, passed=1)  # the test alone decides it, and no gate once more


def test_the_plan_and_the_collection_load_nothing(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(7))
    plan = ask(bench, "--llmci-suite=mine.jsonl", "--llmci-plan")
    plan.stdout.fnmatch_lines(["echo *mine: 1 test, 7 questions"])
    listed = ask(bench, "--llmci-suite=mine.jsonl", "--collect-only", "-q")
    listed.stdout.fnmatch_lines(["mine::echo"])
    assert not (bench.path / "llmci-results").exists()


def test_verify_and_report_make_the_same_files_of_the_log(bench: Bench) -> None:
    from pytest_llmci.cli.main import main

    bench.write("mine.jsonl", rows(70))
    ask(bench, "--llmci-suite=mine.jsonl").assert_outcomes(passed=1)
    before: dict[str, Any] = {name: (bench.latest / name).read_bytes() for name in ("questions.csv", "results.json")}
    assert main(["verify", str(bench.latest)]) == 0
    (bench.latest / "questions.csv").write_bytes(before["questions.csv"].replace(b"1.0", b"0.0", 1))
    assert main(["verify", str(bench.latest)]) == 1
