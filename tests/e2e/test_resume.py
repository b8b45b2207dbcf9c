"""A benchmark that was killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bench import Bench

ROWS = 330


def rows(count: int) -> str:
    made = [
        {"query": f"What is number {n}?", "choices": [f"thing {n} {c}" for c in range(4)], "gold": n % 4}
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in made)


def ask(bench: Bench, *args: str, models: str = "echo") -> pytest.RunResult:
    return bench.run(f"--llm-models={models}", "--llmci-suite=mine.jsonl", *args)


def killed_half_way(bench: Bench, suite: str = "mine.jsonl", line: str = "questions") -> Path:
    """A session that is killed, its model and all, when two batches are on disk; its run folder."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "--llm-models=echo:+ttft=2ms",
        f"--llmci-suite={suite}",
    ]
    session = subprocess.Popen(
        command, cwd=bench.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and session.poll() is None:
            logs = list((bench.path / "llmci-results").glob("*/log.jsonl"))
            if logs and logs[0].read_bytes().count(f'"type":"{line}"'.encode()) >= 2:
                break
            time.sleep(0.01)
        assert session.poll() is None, "the session ended before it could be killed"
    finally:
        os.killpg(session.pid, signal.SIGKILL)
        session.wait()
    return logs[0].parent


def outcome(bench: Bench) -> tuple[Any, list[Any]]:
    """Rates, and each question with its numbers, whatever run they come from."""
    [task] = bench.results()["tasks"]
    columns = ("index", "doc_sha256", "gold", "prediction", "logprobs")
    found = [list(zip(*(record[name] for name in columns), strict=True)) for record in bench.records("questions")]
    return task["metrics"], sorted(question for batch in found for question in batch)


def test_a_killed_benchmark_goes_on_and_ends_as_an_uninterrupted_one(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(ROWS))
    run = killed_half_way(bench)
    before = (run / "log.jsonl").read_text("utf-8").count('"type":"questions"')
    resumed = ask(bench, "--llmci-resume", models="echo:+ttft=2ms")
    resumed.assert_outcomes(passed=1)
    taken = min(before * 64, ROWS)
    resumed.stdout.fnmatch_lines([f"{taken} answers were taken over from {run.name}."])
    records = bench.records("questions")
    assert [bool(record["resumed_from"]) for record in records] == [True] * before + [False] * (len(records) - before)
    assert bench.results()["tasks"][0]["resumed"] == taken
    after = outcome(bench)
    ask(bench, models="echo:+ttft=2ms").assert_outcomes(passed=1)
    assert outcome(bench) == after
    assert bench.results()["tasks"][0]["resumed"] == 0


def test_a_finished_run_is_taken_over_whole_and_asks_nothing(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(70))
    ask(bench).assert_outcomes(passed=1)
    before, first = outcome(bench), bench.records("header")[0]["run_id"]
    again = ask(bench, f"--llmci-resume={first}", models="echo:")
    again.assert_outcomes(passed=1)
    assert outcome(bench) == before
    assert {record["resumed_from"] for record in bench.records("questions")} == {first}
    second = bench.records("header")[0]["run_id"]
    ask(bench, f"--llmci-resume={second}", models="echo:").assert_outcomes(passed=1)
    assert {record["resumed_from"] for record in bench.records("questions")} == {first}, (
        "who asked is told, not who kept"
    )


def test_other_questions_or_another_model_are_not_taken_for_the_same(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(70))
    ask(bench, models="a=echo").assert_outcomes(passed=1)
    run = bench.records("header")[0]["run_id"]
    limited = ask(bench, "--llmci-resume", "--llmci-limit=60", models="a=echo")
    limited.assert_outcomes(failed=1)
    limited.stdout.fnmatch_lines(["*answered mine with other questions (a limit, another file, or changed rows)*"])
    other = ask(bench, f"--llmci-resume={run}", models="a=echo:other")
    other.assert_outcomes(failed=1)
    other.stdout.fnmatch_lines(["*answered mine with *target*other*"])


def test_resuming_needs_a_run_with_answers_and_a_task(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(5))
    nothing = ask(bench, "--llmci-resume")
    nothing.stderr.fnmatch_lines(["ERROR: --llmci-resume: there is no run in*"])
    bench.suite("echo").assert_outcomes(passed=2)
    without = ask(bench, "--llmci-resume")
    assert without.ret == pytest.ExitCode.USAGE_ERROR
    without.stderr.fnmatch_lines(["ERROR: --llmci-resume: * holds no answers to benchmark tasks*"])
    no_task = bench.suite("echo", "--llmci-resume")
    no_task.stderr.fnmatch_lines(["ERROR: --llmci-resume: no benchmark task runs*"])


def test_parallel_workers_take_over_as_well(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(130))
    ask(bench).assert_outcomes(passed=1)
    before = outcome(bench)
    again = bench.run("--llm-models=echo", "--llmci-suite=mine.jsonl", "--llmci-resume", "-n1", fresh=True)
    again.assert_outcomes(passed=1)
    assert outcome(bench) == before and bench.results()["tasks"][0]["resumed"] == 130


TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
output_type: multiple_choice
test_split: test
doc_to_text: "Q: {{query}}\\nA:"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
COUNTED_AT_ITS_END = ("--llmci-suite=colours.yaml", "--llm-models=echo:+ttft=2ms")


@pytest.mark.slow
def test_a_task_of_the_harness_goes_on_too_though_it_counts_at_its_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(bench.path / "hub"))
    bench.write("colours.yaml", TASK.replace("ROWS", str(bench.write("rows.jsonl", rows(ROWS)))))
    run = killed_half_way(bench, "colours.yaml", "answers")
    text = (run / "log.jsonl").read_text("utf-8")
    before = text.count('"type":"answers"')
    assert before >= 2 and '"type":"questions"' not in text
    taken = min(before * 64, ROWS)
    resumed = bench.run(*COUNTED_AT_ITS_END, f"--llmci-resume={run.name}", fresh=True)
    resumed.assert_outcomes(passed=1)
    resumed.stdout.fnmatch_lines([f"{taken} answers were taken over from {run.name}."])
    assert [bool(record["resumed_from"]) for record in bench.records("answers")] == [True] * before + [False] * (
        -(-ROWS // 64) - before
    )
    after = outcome(bench)
    again = bench.run(*COUNTED_AT_ITS_END, fresh=True)
    again.assert_outcomes(passed=1)
    assert outcome(bench) == after and bench.results()["tasks"][0]["resumed"] == 0
    whole = bench.run(*COUNTED_AT_ITS_END, "--llmci-resume", fresh=True)
    whole.assert_outcomes(passed=1)
    assert outcome(bench) == after and bench.results()["tasks"][0]["resumed"] == ROWS
    limited = bench.run(*COUNTED_AT_ITS_END, "--llmci-resume", "--llmci-limit=70", fresh=True)
    limited.assert_outcomes(failed=1)
    limited.stdout.fnmatch_lines(["*answered colours with other questions (a limit, another file, or changed rows)*"])
    bench.write("colours.yaml", (bench.path / "colours.yaml").read_text("utf-8").replace("Q: ", "Question: "))
    other = bench.run(*COUNTED_AT_ITS_END, f"--llmci-resume={run.name}", fresh=True)
    other.assert_outcomes(failed=1)
    other.stdout.fnmatch_lines(["*answered colours with another question or prompt*"])
    late = bench.run(*COUNTED_AT_ITS_END, "--llmci-time-limit=1ms", fresh=True)
    assert late.ret == 0 and [record["n"] for record in bench.records("answers")] == [64]
    assert bench.results()["tasks"][0]["verdict"] == "inconclusive"
