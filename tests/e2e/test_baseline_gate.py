"""``--llmci-baseline``: measured again where that is possible, else compared by its numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench import TWO_PROMPTS, Bench
from repositories import Repository
from timing import on_real_time

from pytest_llmci.store.comparability import Part

pytestmark = on_real_time

FIXED = ("--llmci-rounds=5", "--llmci-max-rounds=5")
SLEEP = "echo=echo+ttft=40ms"


def comparisons(bench: Bench) -> dict[str, dict[str, dict[str, Any]]]:
    """Cell -> metric -> result."""
    return {
        record["cell"]: {result["metric"]: result for result in record["comparisons"]}
        for record in bench.records("verdict")
    }


def test_stored_numbers_are_judged_by_what_two_sessions_can_tell(bench: Bench) -> None:
    assert bench.suite(SLEEP, "--llmci-save-baseline", *FIXED).ret == 0
    result = bench.suite(SLEEP, "--llmci-baseline", *FIXED)
    assert result.ret == 0
    result.stdout.re_match_lines(
        [r"llmci: compared with baseline main", r"llmci: baseline main: stored numbers, as it was saved.*"]
    )
    for cell in comparisons(bench).values():
        time = cell["net_time"]
        assert (time["mode"], time["against"], time["verdict"]) == ("saved", "main", "inconclusive")
        assert time["visible"] > 0.1, "a session of another day says little"
        assert cell["peak_rss"]["verdict"] == "pass"


def test_a_gross_change_against_stored_numbers_fails(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    result = bench.suite("echo=echo+ttft=120ms", "--llmci-baseline", *FIXED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines(
        [r"RegressionDetected: net time 1\d\d.* % slower than main.*", r".*stored numbers of another session.*"]
    )


def test_more_memory_than_stored_fails(bench: Bench) -> None:
    bench.suite("echo=echo+ttft=5ms", "--llmci-save-baseline", *FIXED)
    result = bench.suite("echo=echo+ttft=5ms+alloc=64MiB", "--llmci-baseline", *FIXED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r"RegressionDetected: peak RAM .* more than main.*"])


def test_an_accepted_regression_passes_and_says_so(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    table = (
        '[[accepted]]\ncell = "echo*"\nmetric = "*"\nup_to = "900%"\nreason = "twice as long"\nexpires = 2099-01-01\n'
    )
    bench.write("llmci-baselines/accepted.toml", table)
    result = bench.suite("echo=echo+ttft=120ms", "--llmci-baseline", *FIXED)
    assert result.ret == 0
    result.stdout.re_match_lines([r"echo-first +net time .* accepted"])
    assert comparisons(bench)["echo-first"]["net_time"]["accepted"] == "twice as long"


def test_what_was_accepted_and_has_expired_fails_and_is_told(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    table = (
        '[[accepted]]\ncell = "echo*"\nmetric = "*"\nup_to = "900%"\nreason = "twice as long"\nexpires = 2020-01-01\n'
        '[[accepted]]\ncell = "another*"\nmetric = "*"\nup_to = "1%"\nreason = "not of this session"\nexpires = 2020-01-01\n'
    )
    bench.write("llmci-baselines/accepted.toml", table)
    result = bench.suite("echo=echo+ttft=120ms", "--llmci-baseline", *FIXED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines(
        [r"llmci: no longer accepted, as the time is over: .* until", r"  2020-01-01: twice as long"]
    )
    assert "not of this session" not in result.stdout.str()


def test_accepted_changes_that_cannot_be_read_stop_the_session_before_it_measures(bench: Bench) -> None:
    bench.write("llmci-baselines/accepted.toml", "nonsense [[")
    result = bench.suite("echo=echo", "--llmci-versus=echo=echo+itl=1ms", *FIXED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.re_match_lines([r"ERROR: llmci-baselines/accepted.toml: is not TOML.*"])
    (bench.path / "llmci-baselines/accepted.toml").unlink()
    (bench.path / "llmci-baselines/accepted.toml").mkdir()
    result = bench.suite("echo=echo", "--llmci-versus=echo=echo+itl=1ms", *FIXED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.re_match_lines([r"ERROR: llmci-baselines/accepted.toml: cannot be read.*"])


def test_a_moving_and_a_fixed_baseline_are_gated_together(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline=release", *FIXED)
    bench.suite("echo=echo+ttft=120ms", "--llmci-save-baseline=main", *FIXED)
    result = bench.suite("echo=echo+ttft=120ms", "--llmci-baseline=main", "--llmci-baseline=release", *FIXED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (record, _) = bench.records("verdict")
    found = {(each["against"], each["metric"]): each["verdict"] for each in record["comparisons"]}
    assert found["main", "net_time"] in ("inconclusive", "pass")
    assert found["release", "net_time"] == "regressed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--llmci-max-new-tokens=7"], "*baseline main asked something else: max_new_tokens: 50 -> 7*"),
        (["--llm-prompts=others.yaml"],
         "*baseline main asked something else: another text of prompt 'first'; another text of prompt 'second'. Use the same*"),
        (["-k", "nosuch"], ""),
        (["--llmci-baseline=nosuch"], "*there is no baseline 'nosuch'*holds main*"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(bench: Bench, change: list[str], said: str) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    bench.write("others.yaml", TWO_PROMPTS.replace("Name", "Tell"))
    prompts = [] if any(each.startswith("--llm-prompts") for each in change) else ["--llm-prompts=prompts.yaml"]
    result = bench.run(
        f"--llm-models={SLEEP}", "--llmci-suite=inference", *prompts, "--llmci-baseline", *change, *FIXED
    )
    if said:
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_what_may_be_meant_as_a_baseline_names_those_that_exist(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    result = bench.suite(SLEEP, "--llmci-versus=./nosuch", *FIXED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Nor is" not in result.stderr.str(), "a path is no name"
    result = bench.suite(SLEEP, "--llmci-versus=mein", *FIXED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *Nor is 'mein' a baseline: there are main."])


def test_other_cells_are_a_usage_error(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    result = bench.suite("other=echo+ttft=40ms", "--llmci-baseline", *FIXED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *baseline main has none of the 2 cells of this session; it has echo-first, echo-second*"]
    )


def test_a_baseline_of_other_hardware_compares_no_times(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    (path,) = (bench.path / "llmci-baselines" / "main").glob("*.json")
    data = json.loads(path.read_text("utf-8"))
    data["environment"]["cpu_model"] = "Another CPU"
    data["environment_digest"] = Part(data["environment"]).digest
    path.unlink()
    path.with_name(f"{data['environment_digest']}.json").write_text(json.dumps(data), "utf-8")
    result = bench.suite("echo=echo+ttft=120ms", "--llmci-baseline", *FIXED)
    assert result.ret == 0
    result.stdout.re_match_lines([r"llmci: baseline main was saved on other hardware \(cpu_model: Another CPU.*"])
    cell = comparisons(bench)["echo-first"]
    assert (cell["net_time"]["verdict"], cell["peak_rss"]["verdict"]) == ("not comparable", "pass")


PIPELINE = "import time\n\n\ndef answer(prompt):\n    time.sleep({seconds})\n    return 'an answer to ' + prompt\n"


def test_a_baseline_whose_commit_is_there_is_measured_again(bench: Bench) -> None:
    bench.write(".gitignore", "__pycache__/\n*.pyc\nrunpytest-*\nstderr\nstdout\ntiming.lock*\n")
    bench.write("app/__init__.py", "")
    bench.write("app/bot.py", PIPELINE.format(seconds=0.06))
    bench.write(
        "pyproject.toml",
        '[tool.llmci]\nmodels = ["bot=py:app.bot:answer"]\nprompts = ["prompts.yaml"]\nsuite = ["inference"]\n',
    )
    Repository(bench.path).commit("first")
    assert bench.run("--llmci", "--llmci-save-baseline", *FIXED, fresh=True).ret == 0
    bench.write("app/bot.py", PIPELINE.format(seconds=0.1))
    result = bench.run("--llmci", "--llmci-baseline", "--llmci-detect=20%", *FIXED, fresh=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines(
        [
            r"llmci: baseline main is measured again, alternately.*",
            r"RegressionDetected: net time 6\d.* % slower than main.*",
            r"  changed    app/bot.py; file_sha256: .*",
        ]
    )
    assert comparisons(bench)["bot-first"]["net_time"]["mode"] == "interleaved"


def test_why_the_commit_of_a_baseline_cannot_be_measured_is_told_without_its_digest(bench: Bench) -> None:
    bench.write(
        "pyproject.toml", '[tool.llmci]\nmodels = ["echo"]\nprompts = ["prompts.yaml"]\nsuite = ["inference"]\n'
    )
    bench.write(".gitignore", "__pycache__/\n*.pyc\nrunpytest-*\nstderr\nstdout\ntiming.lock*\nllmci-baselines/\n")
    Repository(bench.path).commit("first")
    assert bench.run("--llmci", "--llmci-save-baseline", *FIXED).ret == 0
    bench.write(".git/worktrees", "in the way")
    said = " ".join(bench.run("--llmci", "--llmci-baseline", *FIXED).stdout.str().split())
    assert "baseline main: stored numbers, as its commit cannot be measured again: git cannot check out " in said


@pytest.mark.parametrize(
    ("old", "said"),
    [("3.9.1", "python: 3.9.1 -> 3."), ("torch", "torch: 0.1 -> "), ("same series", "")],
    ids=["Python", "a package", "a patch of Python"],
)
def test_a_baseline_of_another_environment_is_not_measured_again_in_todays(bench: Bench, old: str, said: str) -> None:
    bench.write(
        "pyproject.toml", '[tool.llmci]\nmodels = ["echo"]\nprompts = ["prompts.yaml"]\nsuite = ["inference"]\n'
    )
    bench.write(".gitignore", "__pycache__/\n*.pyc\nrunpytest-*\nstderr\nstdout\ntiming.lock*\nllmci-baselines/\n")
    Repository(bench.path).commit("first")
    assert bench.run("--llmci", "--llmci-save-baseline", *FIXED).ret == 0
    (path,) = (bench.path / "llmci-baselines/main").glob("*.json")
    stored = json.loads(path.read_text("utf-8"))
    origin = stored["sessions"][0]["origin"]
    if old == "torch":
        origin["packages"]["torch"] = "0.1"
    else:
        origin["python"] = f"{origin['python'].rpartition('.')[0]}.999" if old == "same series" else old
    path.write_text(json.dumps(stored), "utf-8")
    text = " ".join(bench.run("--llmci", "--llmci-baseline", *FIXED).stdout.str().split())
    assert (
        f"baseline main: stored numbers, as {said or 'nothing in the repository that is measured has changed'}" in text
    )
    assert ("since then" in text) == bool(said)


def test_a_cell_that_no_test_measures_any_more_is_lost_coverage(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    bench.write("prompts.yaml", "- {id: first, prompt: Name a colour.}\n")
    result = bench.suite(SLEEP, "--llmci-baseline", *FIXED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r"  lost coverage: baseline main has echo-second, which no test measures.*"])


def test_three_undecided_runs_in_a_row_are_told(bench: Bench) -> None:
    asked = ("--llmci-baseline", *FIXED)
    bench.suite(SLEEP, "--llmci-save-baseline", *FIXED)
    said = [bench.suite(SLEEP, *asked).stdout.str() for _ in range(3)]
    assert ["The last 3 runs could not decide." in text for text in said] == [False, False, True]


def test_a_baseline_can_be_demanded_to_be_measured_again(bench: Bench) -> None:
    bench.suite(SLEEP, "--llmci-save-baseline=release", *FIXED)
    result = bench.suite(SLEEP, "--llmci-versus=release", *FIXED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --llmci-versus: baseline release cannot be measured again, as it was saved outside of a git repository; *"
        ]
    )
