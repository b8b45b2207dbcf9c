"""A benchmark that was killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bench import Bench
from harness_task import write_harness_task

from pytest_llmci.cli.main import main

ROWS = 330
NOTHING = "Taken over: nothing, as the run to go on with measured none of these cells*"


def rows(count: int) -> str:
    made = [
        {"query": f"What is number {n}?", "choices": [f"thing {n} {c}" for c in range(4)], "gold": n % 4}
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in made)


def ask(bench: Bench, *args: str, models: str = "echo") -> pytest.RunResult:
    return bench.run(f"--llm-models={models}", "--llmci-suite=mine.jsonl", *args)


KILLS_ITSELF = """
import os, pathlib, signal, threading, time
def watch():
    while True:
        logs = list(pathlib.Path("llmci-results").glob("*/log.jsonl"))
        if logs and logs[0].read_bytes().count(LINE) >= 2:
            os.killpg(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
"""
"""Inside of the session, so that no pause lets it run on to its end before it is killed."""


def killed_half_way(bench: Bench, suite: str = "mine.jsonl", line: str = "questions") -> Path:
    """A session that is killed, its model and all, when two batches are on disk; its run folder."""
    bench.write("killer.py", KILLS_ITSELF.replace("LINE", repr(f'"type":"{line}"'.encode())))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "killer",
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
        assert session.wait() == -signal.SIGKILL, "the session ended before it was killed"
    finally:
        with suppress(ProcessLookupError):  # what it started
            os.killpg(session.pid, signal.SIGKILL)
    (log,) = (bench.path / "llmci-results").glob("*/log.jsonl")
    return log.parent


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
    limited.assert_outcomes(passed=1)
    (verdict,) = bench.records("verdict")
    different = f"{run} answered mine with other questions (a limit, another file, or changed rows)"
    assert verdict["not_resumed"].startswith(different)
    assert {record["resumed_from"] for record in bench.records("questions")} == {""}
    ask(bench, f"--llmci-resume={run}", models="a=echo:other").assert_outcomes(passed=1)
    (verdict,) = bench.records("verdict")
    assert "answered mine with" in verdict["not_resumed"] and "target" in verdict["not_resumed"]
    assert bench.results()["tasks"][0]["resumed"] == 0


def test_a_run_that_was_stopped_before_its_first_answer_is_measured_whole(bench: Bench) -> None:
    bench.suite("a=echo").assert_outcomes(passed=2)
    (run,) = (path.parent for path in (bench.path / "llmci-results").glob("2*/log.jsonl"))
    header = (run / "log.jsonl").read_text("utf-8").splitlines(keepends=True)[0]
    shutil.rmtree(run)
    run.mkdir()
    (run / "log.jsonl").write_text(header, "utf-8")
    closed = bench.path / "closed"
    shutil.copytree(run, closed / run.name)
    assert main(["report", str(closed / run.name)]) == 0
    for folder in (run, closed / run.name):
        found = bench.suite("a=echo", f"--llmci-resume={folder}")
        found.assert_outcomes(passed=2)
        found.stdout.fnmatch_lines([NOTHING])


def test_a_run_of_another_model_is_not_told_to_have_been_stopped(bench: Bench) -> None:
    bench.suite("a=echo").assert_outcomes(passed=2)
    found = bench.suite("b=echo", "--llmci-resume")
    found.assert_outcomes(passed=2)
    found.stdout.fnmatch_lines([NOTHING])


def test_resuming_needs_a_run_with_answers(bench: Bench) -> None:
    nothing = bench.suite("echo", "--llmci-resume")
    nothing.stderr.fnmatch_lines(["ERROR: --llmci-resume: there is no run in*"])
    bench.suite("a=echo+crash=SIGKILL", "-k", "no_such_cell")
    bench.write("test_it.py", "import pytest_llmci\ndef test_it(llm): llm.info\n")
    bench.run("--llm-models=echo")
    without = bench.suite("echo", "--llmci-resume")
    assert without.ret == pytest.ExitCode.USAGE_ERROR
    without.stderr.fnmatch_lines(["ERROR: --llmci-resume: * holds no answer; name another run*"])
    both = bench.suite("echo", "--llmci-resume", "--llmci-versus=echo:other")
    both.stderr.fnmatch_lines(["ERROR: --llmci-resume and --llmci-versus: both sides are measured in one session*"])
    replayed = bench.suite("echo", "--llmci-resume", "--llmci-replay=latest")
    assert replayed.ret == pytest.ExitCode.USAGE_ERROR
    replayed.stderr.fnmatch_lines(["ERROR: --llmci-resume: a replay measures nothing that could be gone on with*"])


def test_parallel_workers_take_over_as_well(bench: Bench) -> None:
    bench.write("mine.jsonl", rows(130))
    ask(bench).assert_outcomes(passed=1)
    before = outcome(bench)
    again = bench.run("--llm-models=echo", "--llmci-suite=mine.jsonl", "--llmci-resume", "-n1", fresh=True)
    again.assert_outcomes(passed=1)
    assert outcome(bench) == before and bench.results()["tasks"][0]["resumed"] == 130


COUNTED_AT_ITS_END = ("--llmci-suite=colours.yaml", "--llm-models=echo:+ttft=2ms")


@pytest.mark.slow
def test_a_task_of_the_harness_goes_on_too_though_it_counts_at_its_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(bench.path / "hub"))
    write_harness_task(bench, rows(ROWS))
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
    limited.assert_outcomes(passed=1)
    assert "with other questions (a limit, another file, or changed rows)" in bench.records("verdict")[0]["not_resumed"]
    assert bench.results()["tasks"][0]["resumed"] == 0
    bench.write("colours.yaml", (bench.path / "colours.yaml").read_text("utf-8").replace("Q: ", "Question: "))
    other = bench.run(*COUNTED_AT_ITS_END, f"--llmci-resume={run.name}", fresh=True)
    other.assert_outcomes(passed=1)
    assert "answered colours with another question or prompt" in bench.records("verdict")[0]["not_resumed"]
    late = bench.run(*COUNTED_AT_ITS_END, "--llmci-time-limit=1ms", fresh=True)
    assert late.ret == 0 and [record["n"] for record in bench.records("answers")] == [64]
    assert bench.results()["tasks"][0]["verdict"] == "inconclusive"


# ---------------------------------------------------------------------------------------------------------------- cells


def taken(bench: Bench) -> dict[str, str]:
    """Cell -> the run that its rounds are of; empty for what this session measured."""
    return {block["cell"]: block["resumed_from"] for block in bench.records("rounds")}


def kept(bench: Bench) -> dict[tuple[str, str], tuple[Any, str]]:
    """Cell and kind of block -> numbers and time."""
    return {(b["cell"], b["origin"]): (b["values"], b["started"]) for b in bench.records("rounds")}


def test_only_missing_cells_are_measured_and_the_others_are_labelled(bench: Bench) -> None:
    bench.suite("a=echo,b=echo", "-k", "first or b-", "--llmci-memory=exact").assert_outcomes(passed=3)
    run, before = bench.records("header")[0]["run_id"], kept(bench)
    resumed = bench.suite(
        "a=echo,b=echo", "--llmci-resume", "--llmci-sink=html", "--llmci-sink=markdown:run.md", "--llmci-memory=exact"
    )
    resumed.assert_outcomes(passed=4)
    resumed.stdout.fnmatch_lines([f"Taken over from {run}: 3 cells of 4, 6 rounds."])
    assert taken(bench) == {"a-first": run, "a-second": "", "b-first": run, "b-second": run}
    for block in bench.records("rounds"):
        assert block["provenance"] == ("resumed" if block["resumed_from"] else "live")
        if block["resumed_from"]:
            assert (block["values"], block["started"]) == before[block["cell"], block["origin"]]
    assert {v["cell"] for v in bench.records("verdict") if v["resumed_from"] == run} == {
        "a-first",
        "b-first",
        "b-second",
    }
    with (bench.latest / "results.csv").open(encoding="utf-8", newline="") as stream:
        labels = {(row["cell"], row["provenance"]) for row in csv.DictReader(stream)}
    assert labels == {("a-first", "resumed"), ("a-second", "live"), ("b-first", "resumed"), ("b-second", "resumed")}
    with (bench.latest / "summary.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["model"]: row["provenance"] for row in csv.DictReader(stream)} == {"a": "resumed", "b": "resumed"}
    page = (bench.latest / "report.html").read_text("utf-8")
    assert page.count(f"taken over from {run}") == 3
    assert f"- taken over: from {run}: 3 cells of 4, 6 rounds." in (bench.path / "run.md").read_text("utf-8")
    assert {cell["id"]: cell["provenance"] for cell in bench.results()["cells"]}["a-first"] == "resumed"


def test_who_measured_is_told_and_not_who_kept(bench: Bench) -> None:
    bench.suite("a=echo").assert_outcomes(passed=2)
    first = bench.records("header")[0]["run_id"]
    for _ in range(2):
        bench.suite("a=echo", "--llmci-resume").assert_outcomes(passed=2)
        assert set(taken(bench).values()) == {first}
        starts = bench.records("worker")
        assert [worker["resumed_from"] for worker in starts if worker["resumed_from"]] == [first]
    assert len({worker["uid"] for worker in starts}) == len(starts)


def test_what_failed_because_a_process_died_is_measured_again(bench: Bench) -> None:
    bench.suite("a=echo+crash=SIGKILL+only_prompt=first").assert_outcomes(passed=1, failed=1)
    again = bench.suite("a=echo+crash=SIGKILL+only_prompt=first", "--llmci-resume")
    again.assert_outcomes(passed=1, failed=1)
    verdicts = {verdict["cell"]: verdict for verdict in bench.records("verdict")}
    assert verdicts["a-first"]["not_resumed"].startswith("it ended in an error in run ")
    assert verdicts["a-second"]["resumed_from"]
    assert [block["cell"] for block in bench.records("rounds") if not block["resumed_from"]] == ["a-first"]


def test_what_failed_a_check_is_judged_anew_on_the_same_rounds(bench: Bench) -> None:
    bench.suite("a=echo", "--llmci-check=contains:nothing like it").assert_outcomes(failed=2)
    bench.suite("a=echo", "--llmci-resume").assert_outcomes(passed=2)
    assert all(taken(bench).values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("--llmci-max-new-tokens=7",), "it was asked with other settings in run"),
        (("--llmci-seed=7",), "it was asked with other settings in run"),
        (("--llmci-warmup=0",), "was measured otherwise: warmup: 1 -> 0"),
        (("--llmci-threads=2",), "was measured otherwise: threads: 1 -> 2"),
        (("--llmci-memory=exact",), "was measured otherwise: memory: auto -> exact"),
    ],
)
def test_a_cell_whose_key_changed_is_measured(bench: Bench, change: tuple[str, ...], reason: str) -> None:
    bench.suite("a=echo").assert_outcomes(passed=2)
    result = bench.suite("a=echo", "--llmci-resume", *change)
    result.assert_outcomes(passed=2)
    assert all(reason in verdict["not_resumed"] for verdict in bench.records("verdict"))
    assert set(taken(bench).values()) == {""}
    assert "Measured anew: 2 cells: " in result.stdout.str()


def test_another_model_prompt_or_machine_is_another_key(bench: Bench) -> None:
    bench.suite("a=echo").assert_outcomes(passed=2)
    run = bench.records("header")[0]["run_id"]
    bench.suite("a=echo:something else", f"--llmci-resume={run}")
    assert set(taken(bench).values()) == {""}
    bench.write("prompts.yaml", "- {id: first, prompt: Name a fish.}\n- {id: second, prompt: Name a river.}\n")
    bench.suite("a=echo", f"--llmci-resume={run}").assert_outcomes(passed=2)
    assert taken(bench) == {"a-first": "", "a-second": run}
    bench.write(
        "conftest.py",
        "from importlib import import_module\narmed = import_module('pytest_llmci.plugin.armed')\nthere = armed.environment\n"
        "armed.environment = lambda: {**there(), 'cpu_model': 'another'}\n",
    )
    bench.suite("a=echo", f"--llmci-resume={run}").assert_outcomes(passed=2)
    assert set(taken(bench).values()) == {""}
    assert "on another machine: cpu_model" in bench.records("verdict")[0]["not_resumed"]


def test_code_of_the_users_is_taken_for_the_same_only_at_one_clean_commit(bench: Bench) -> None:
    bench.write("mine.py", "def answer(prompt): return 'yes ' + prompt\n")
    bench.write(".gitignore", "llmci-results\ncache\n*.lock*\n__pycache__\n")
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(bench.path))
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    bench.suite("a=py:mine:answer").assert_outcomes(passed=2)
    run = bench.records("header")[0]["run_id"]
    bench.suite("a=py:mine:answer", f"--llmci-resume={run}")
    assert set(taken(bench).values()) == {run}
    bench.write("mine.py", "def answer(prompt): return 'no ' + prompt\n")
    bench.suite("a=py:mine:answer", f"--llmci-resume={run}")
    assert set(taken(bench).values()) == {""}
    assert "changes that are not committed" in bench.records("verdict")[0]["not_resumed"]


def test_with_a_baseline_a_model_is_taken_over_whole_or_not_at_all(bench: Bench) -> None:
    bench.suite("a=echo,b=echo", "--llmci-save-baseline", "--llmci-rounds=5").assert_outcomes(passed=4)
    bench.suite("a=echo,b=echo", "-k", "a- or b-first", "--llmci-rounds=5").assert_outcomes(passed=3)
    run = bench.records("header")[0]["run_id"]
    bench.suite("a=echo,b=echo", "--llmci-baseline", f"--llmci-resume={run}", "--llmci-rounds=5")
    assert taken(bench) == {"a-first": run, "a-second": run, "b-first": "", "b-second": ""}
    assert all(verdict["comparisons"] for verdict in bench.records("verdict"))


def test_cells_of_functions_are_taken_over_and_their_bodies_run(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.llmci(rounds=2)\ndef test_it(llm_result, llm):\n    assert llm_result.output.text\n    llm.generate('hi')\n",
    )
    bench.run("--llm-models=a=echo", "--llm-prompts=prompts.yaml").assert_outcomes(passed=2)
    bench.run("--llm-models=a=echo", "--llm-prompts=prompts.yaml", "--llmci-resume").assert_outcomes(passed=2)
    assert {(block["origin"], bool(block["resumed_from"])) for block in bench.records("rounds")} == {
        ("measured", True), ("call", False),
    }  # fmt: skip


def test_parallel_workers_take_cells_over_from_the_run_before_and_not_from_their_own(bench: Bench) -> None:
    bench.suite("a=echo,b=echo").assert_outcomes(passed=4)
    run = bench.records("header")[0]["run_id"]
    for name in ("--llmci-resume", "--llmci-resume=latest"):
        bench.suite("a=echo,b=echo", name, "-n2", fresh=True).assert_outcomes(passed=4)
        assert set(taken(bench).values()) == {run}


def test_a_resumed_run_is_proven_and_can_be_compared_replayed_and_merged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.path)
    bench.suite("a=echo", "-k", "first", "--llmci-shard=1/1")
    bench.suite("a=echo", "--llmci-resume", "--llmci-shard=1/1").assert_outcomes(passed=2)
    assert main(["verify"]) == 0
    assert main(["compare", "latest~1", "latest"]) == 0
    assert main(["merge", "latest"]) == 0
    assert sorted(map(bool, taken(bench).values())) == [False, True]
    bench.run("--llmci-replay=latest").assert_outcomes(passed=2)
