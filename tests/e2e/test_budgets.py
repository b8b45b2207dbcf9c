"""Budgets: from flag, ini and marker; below, at and above the limit; and what a missed one prints."""

from __future__ import annotations

import pytest
from bench import Bench
from timing import on_real_time

pytestmark = on_real_time


def test_a_far_off_latency_fails_with_the_whole_story(bench: Bench) -> None:
    result = bench.suite("echo+ttft=30ms", "--llmci-max-latency=10ms", "--llmci-rounds=5")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*inference::echo-first*",
            "BudgetExceeded: latency * is over 10 ms*(*)",
            "*latency *median of 5 rounds: * ms*",
            "*limit *10 ms *from --llmci-max-latency",
            "*noise *of * rounds",  # on a busy machine of more than five
            '*prompt *"Name a colour."',
            "*output *tokens)",
            "*repeat *pytest *--llm-models=echo+ttft=30ms*",
            '*-k "echo-first"',
            "FAILED inference::echo-first - latency * ms > 10 ms",
        ]
    )


def test_a_latency_well_within_passes_and_stops_early(bench: Bench) -> None:
    bench.suite("echo+ttft=5ms", "--llmci-max-latency=10s", "--llmci-rounds=5").assert_outcomes(passed=2)
    assert bench.planned_rounds() == [5, 5]


@pytest.mark.parametrize(("limit", "passed"), [(2, False), (3, True), (4, True)])
def test_deterministic_limits_below_at_and_above(bench: Bench, limit: int, passed: bool) -> None:
    result = bench.suite("echo", f"--llmci-budget=output_tokens <= {limit}", "--llmci-max-new-tokens=3")
    result.assert_outcomes(**{"passed" if passed else "failed": 2})


@pytest.mark.parametrize("place", ["flag", "ini", "tool", "environment"])
def test_budgets_come_from_everywhere_and_name_their_origin(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    text, origin = "output_tokens <= 1", {
        "flag": "--llmci-budget", "ini": "pytest.ini: llmci_budget", "tool": "pyproject.toml: [[]tool.llmci[]] budget", "environment": "LLMCI_BUDGET",
    }[place]  # fmt: skip
    flags = [f"--llmci-budget={text}"] if place == "flag" else []
    if place == "ini":
        bench.write("pytest.ini", f"[pytest]\nllmci_budget = {text}\n")
    if place == "tool":
        bench.write("pyproject.toml", f'[tool.pytest.ini_options]\n[tool.llmci]\nbudget = ["{text}"]\n')
    if place == "environment":
        monkeypatch.setenv("LLMCI_BUDGET", text)
    result = bench.suite("echo", "--llmci-max-new-tokens=2", *flags)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([f"*from {origin}"])


def test_flag_beats_ini(bench: Bench) -> None:
    bench.write("pytest.ini", "[pytest]\nllmci_rounds = 1\nllmci_max_new_tokens = 9\n")
    bench.suite("echo", "--llmci-rounds=3")
    assert set(bench.planned_rounds()) == {3}
    assert {block["generation"]["max_new_tokens"] for block in bench.records("rounds")} == {9}


def test_a_flag_takes_the_place_of_its_setting_and_adds_to_the_other_options(bench: Bench) -> None:
    bench.write("pytest.ini", "[pytest]\nllmci_budget = output_tokens <= 1\n")
    bench.suite("echo", "--llmci-max-new-tokens=2", "--llmci-budget=output_tokens <= 2").assert_outcomes(passed=2)
    bench.suite("echo", "--llmci-max-new-tokens=2", "--llmci-max-memory=64GiB").assert_outcomes(failed=2)


def test_a_glob_limits_the_budget_to_some_models(bench: Bench) -> None:
    result = bench.suite("fast=echo,slow=echo", "--llmci-budget=slow*: output_tokens <= 1", "--llmci-max-new-tokens=2")
    result.assert_outcomes(passed=2, failed=2)


def test_an_undecided_budget_gets_more_rounds_and_is_no_failure(bench: Bench) -> None:
    bench.write("jitter.py", JITTER)
    args = (
        "--llmci-max-latency=20ms",
        "--llmci-rounds=3",
        "--llmci-max-rounds=7",
        "--llmci-block=2",
        "--llmci-warmup=0",
    )
    result = bench.suite("py:jitter:answer", *args, "-k", "first")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*INCONCLUSIVE is not a pass: 1 of 1 cell could not be decided.*", "*1 inconclusive*"])
    planned = bench.planned_rounds()
    again = sum(block["n"] for block in bench.records("rounds")) - sum(planned)  # on a busy machine, which count, too
    left = 7 - 3 - again
    assert planned == [3, *[2] * (left // 2), *[1] * (left % 2)]
    result = bench.suite("py:jitter:answer", *args, "-k", "first", "--llmci-inconclusive=fail")
    result.assert_outcomes(failed=1)
    bench.suite("py:jitter:answer", *args, "-k", "first", "--llmci-inconclusive=pass").assert_outcomes(passed=1)


JITTER = """
import itertools, time
waits = itertools.cycle([0.08, 0.005, 0.08, 0.005])
def answer(prompt):
    time.sleep(next(waits))
    return "a plain answer"
"""


def test_one_outlier_never_decides(bench: Bench) -> None:
    bench.write("spike.py", JITTER.replace("[0.08, 0.005, 0.08, 0.005]", "[0.005, 0.005, 0.9, 0.005, 0.005]"))
    bench.suite(
        "py:spike:answer", "--llmci-max-latency=100ms", "--llmci-rounds=5", "--llmci-warmup=0", "-k", "first"
    ).assert_outcomes(passed=1)


def test_out_of_time_is_inconclusive(bench: Bench) -> None:
    result = bench.suite("echo+ttft=300ms", "--llmci-time-limit=250ms")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*out of time*", "*inconclusive*"])


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("latncy <= 2s", "*Did you mean 'latency'?*"),
        ("latency.medain <= 2s", "*median*"),
        ("latency <= fast", "*'fast' is not a quantity in seconds*"),
        ("latency 2s", "*latency 2s*"),
        ("latency >= 2s", "*latency <= 2s*"),
        ("ttft <= 2GiB", "*not a quantity in seconds*"),
    ],
)
def test_a_wrong_budget_is_a_usage_error(bench: Bench, budget: str, expected: str) -> None:
    result = bench.suite("echo", f"--llmci-budget={budget}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])
    assert not (bench.path / "llmci-results").exists()


def test_contradictory_budgets_are_a_usage_error(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-budget=output_tokens <= 5", "--llmci-budget=output_tokens >= 6")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*output_tokens*"])


def test_a_budget_on_a_missing_number_fails(bench: Bench) -> None:
    bench.write("whole.py", "def answer(prompt): return 'a plain answer'\n")
    result = bench.suite("py:whole:answer", "--llmci-budget=ttft <= 2s")
    assert result.ret != 0
    assert "ttft" in result.stdout.str() + result.stderr.str()
