"""``--llmci-versus``: two sides measured alternately in one session."""

from __future__ import annotations

from typing import Any

import pytest
from bench import Bench
from timing import on_real_time

pytestmark = on_real_time

SLOW, QUICK = "echo=echo+itl=300us", "echo+itl=250us"
SHORT = ("--llmci-max-new-tokens=20",)


def comparisons(bench: Bench) -> dict[str, dict[str, Any]]:
    """Cell -> metric -> result."""
    return {
        record["cell"]: {result["metric"]: result for result in record["comparisons"]}
        for record in bench.records("verdict")
    }


def test_a_slower_model_fails_with_effect_interval_and_both_sides(bench: Bench) -> None:
    result = bench.suite("echo=echo+itl=1500us", "--llmci-versus=echo+itl=1ms", "-k", "first", *SHORT)
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.re_match_lines(
        [
            r"RegressionDetected: net time \d\d.* % slower than echo\+itl=1ms \(\+\d.*",
            r" +echo\+itl=1ms +now +change +looked for",
            r"  net time .* \+\d\d\.\d % +5 % +REGRESSED",
            r"  outputs +the same on both sides",
            r"  how +\d+ rounds a side in \d fresh pairs? of processes, .*",
            r'  changed +options: \{"itl": "1ms"\} -> \{"itl": "1500us"\}',
            r'  if meant +llmci baseline accept echo-first --reason "..."',
        ]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_model_that_is_slower_as_a_whole_fails_its_gate(bench: Bench) -> None:
    result = bench.suite("echo=echo+itl=2ms", "--llmci-versus=echo+itl=1ms", *SHORT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines(
        [
            r"Gate regression-echo failed:",
            r"  echo as a whole against echo\+itl=1ms: net_time \+\d+(\.\d)? % .*",
            r"  net_time of its cells: echo-.*",
            r"FAILED llmci::gate\[regression-echo\] - .*",
        ]
    )


def test_cells_that_are_expected_to_regress_do_not_fail_their_model(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        "import pytest\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n"
        "        item.add_marker(pytest.mark.xfail(strict=True))\n",
    )
    result = bench.suite("echo=echo+itl=3ms", "--llmci-versus=echo+itl=1ms", *SHORT)
    result.assert_outcomes(xfailed=2)
    assert result.ret == pytest.ExitCode.OK


def test_the_same_model_on_both_sides_passes(bench: Bench) -> None:
    result = bench.suite("echo=echo+itl=1ms", "--llmci-versus=echo+itl=1ms", "--llmci-detect=20%", *SHORT)
    result.assert_outcomes(passed=2)
    for cell in comparisons(bench).values():
        assert {metric: found["verdict"] for metric, found in cell.items()} == {
            "net_time": "pass", "output_tokens": "pass", "peak_rss": "pass"
        }  # fmt: skip
        time = cell["net_time"]
        assert (time["mode"], time["detect"], time["against"]) == ("interleaved", 0.2, "echo+itl=1ms")
        assert time["low"] < time["change"] < time["high"] < 0.2
        assert (time["rounds"], time["pairs"]) == (5 * time["pairs"], time["pairs"])


def test_a_faster_model_never_fails_and_is_called_improved(bench: Bench) -> None:
    result = bench.suite("echo=echo+itl=1ms", "--llmci-versus=echo+itl=2ms", "-k", "first", *SHORT)
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.re_match_lines(
        [r"echo-first +net time .* -\d\d\.\d % .* improved", r"Better in 1 of 1 cells\. .*renew it.*"]
    )


def test_each_block_runs_in_a_fresh_pair_and_its_rounds_alternate(bench: Bench) -> None:
    bench.suite(SLOW, f"--llmci-versus={SLOW}", "--llmci-block=3", "--llmci-max-rounds=6", "--llmci-detect=1%", *SHORT)
    workers = bench.records("worker")
    pairs = {(worker["role"], worker["pair"]): worker["pid"] for worker in workers}
    assert sorted(pairs) == [("reference", 0), ("reference", 1), ("timing", 0), ("timing", 1)]
    assert len(set(pairs.values())) == 4
    blocks = [block for block in bench.records("rounds") if block["cell"] == "echo-first"]
    assert [(block["origin"], block["pair"]) for block in blocks] == [
        ("measured", 0), ("reference", 0), ("measured", 1), ("reference", 1)
    ]  # fmt: skip
    assert all(block["n"] == 3 * block["repeats"] for block in blocks)


def test_answers_too_short_to_be_timed_are_taken_together(bench: Bench) -> None:
    result = bench.suite("echo=echo+ttft=10ms", "--llmci-versus=echo+ttft=10ms", "--llmci-max-rounds=5")
    blocks = bench.records("rounds")
    repeats = {block["repeats"] for block in blocks}
    assert repeats <= set(range(2, 7)), "as many as 50 ms take; a busy machine's first answers take longer than 10 ms"
    assert {block["n"] / block["repeats"] for block in blocks} == {5}
    words = " ".join(" ".join(result.outlines).split())
    assert f"up to {max(repeats)} rounds make one sample of the comparison." in words


def test_the_rounds_of_the_reference_are_in_no_statistic_of_the_model(bench: Bench) -> None:
    bench.suite("echo=echo+ttft=50ms", "--llmci-versus=echo+ttft=150ms", "--llmci-max-rounds=5")
    (model,) = bench.results()["models"]
    assert model["metrics"]["latency"]["max"] < 0.14
    rows = (bench.latest / "results.csv").read_text("utf-8").splitlines()
    assert sum("of what the cell is compared with" in row for row in rows) == 10


def test_answers_of_another_length_are_not_compared_by_time(bench: Bench) -> None:
    bench.write("test_it.py", "def test_it(llm_result):\n    assert llm_result.output.text\n")
    result = bench.run(
        "--llm-models=echo=echo:one two three four+itl=1ms", "--llmci-versus=echo:one two+itl=1ms",
        "--llm-prompts=prompts.yaml", "--llmci-max-rounds=5", "-k", "first",
    )  # fmt: skip
    result.stdout.re_match_lines([r".*the answers differ in length:", r" +2 -> 4 tokens"])
    assert comparisons(bench)["echo-first"]["net_time"]["verdict"] == "not comparable"
    result.stdout.re_match_lines([r"=+ 1 deselected, 1 inconclusive in .*"])
    assert result.ret == 0


@pytest.mark.parametrize("fault", ["load_fail=gone", "fail=broken", "crash=SIGKILL"])
def test_a_reference_that_fails_never_fails_the_candidate(bench: Bench, fault: str) -> None:
    result = bench.suite("echo=echo+ttft=1ms", f"--llmci-versus=echo+{fault}")
    assert result.ret == 0
    result.stdout.re_match_lines([r".*(the reference|processes of the comparison).*", r"=+ 2 inconclusive.*"])
    for cell in comparisons(bench).values():
        assert [found["verdict"] for found in cell.values()] == ["not comparable"]
    assert all(cell["rounds"] for cell in bench.results()["cells"])


def test_a_candidate_that_crashes_fails_its_cell_and_the_others_are_compared(bench: Bench) -> None:
    result = bench.suite(
        "echo=echo+ttft=50ms+crash=SIGKILL+only_prompt=colour", "--llmci-versus=echo+ttft=50ms", "--llmci-max-rounds=5",
        "--llmci-detect=20%",
    )  # fmt: skip
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["WorkerCrashed: echo was killed by SIGKILL*"])
    assert comparisons(bench)["echo-second"]["net_time"]["verdict"] == "pass"


def test_undecided_cells_can_be_made_to_fail(bench: Bench) -> None:
    asked = ("--llmci-max-rounds=5", "--llmci-detect=0.1%", *SHORT)
    result = bench.suite(SLOW, f"--llmci-versus={SLOW}", *asked)
    assert result.ret == 0
    result.stdout.re_match_lines(
        [r"INCONCLUSIVE is not a pass.*", r".*you asked for 0\.1 %.*", r"=.* inconclusive in.*"]
    )  # by chance one of the two cells may look faster, and passes
    result = bench.suite(SLOW, f"--llmci-versus={SLOW}", "--llmci-inconclusive=fail", *asked)
    assert result.ret == 1
    result.stdout.re_match_lines([r"=.* [12] failed.*"])


def test_only_prompts_tagged_gate_are_compared_where_any_is(bench: Bench) -> None:
    bench.write("prompts.yaml", "- {id: first, prompt: A, tags: [gate]}\n- {id: second, prompt: B}\n")
    bench.suite("echo=echo+ttft=1ms", "--llmci-versus=echo+ttft=1ms", "--llmci-max-rounds=5")
    found = comparisons(bench)
    assert (bool(found["echo-first"]), bool(found["echo-second"])) == (True, False)


def test_memory_is_compared_by_its_minimum(bench: Bench) -> None:
    result = bench.suite(
        "echo=echo+ttft=10ms+alloc=64MiB", "--llmci-versus=echo+ttft=10ms+alloc=32MiB", "--llmci-max-rounds=5", "-k", "first"
    )  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r"RegressionDetected: peak RAM .* more than .*"])


def test_budgets_are_judged_beside_the_comparison(bench: Bench) -> None:
    result = bench.suite(
        "echo=echo+ttft=50ms", "--llmci-versus=echo+ttft=50ms", "--llmci-max-latency=10ms", "--llmci-max-rounds=5",
        "--llmci-detect=20%",
    )  # fmt: skip
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["BudgetExceeded: latency 50* ms is over 10 ms*"])


def test_parallel_workers_report_what_they_compared(bench: Bench) -> None:
    result = bench.suite(
        "a=echo+ttft=75ms,b=echo+ttft=50ms", "--llmci-versus=+ttft=50ms", "--llmci-max-rounds=5", "-n2", fresh=True
    )  # fmt: skip
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines([r"FAILED llmci::gate\[regression-a\].*"])
    assert {cell for cell, found in comparisons(bench).items() if found["net_time"]["verdict"] == "regressed"} == {
        "a-first", "a-second"
    }  # fmt: skip


def test_the_header_says_what_it_costs_and_what_it_will_see(bench: Bench) -> None:
    result = bench.suite(SLOW, f"--llmci-versus={SLOW}", "--llmci-max-rounds=5", *SHORT)
    result.stdout.re_match_lines(
        [
            r"llmci: compared with .*",
            r"llmci: interleaved: 2 cells, up to 1 fresh pair of processes a model, 2 loads.*",
            r"llmci: it will see changes of .* % or more.*",
        ]
    )


@pytest.mark.slow
def test_a_model_that_loads_slower_fails_where_load_time_is_named(bench: Bench) -> None:
    slower = ("echo=echo+load=900ms", "--llmci-versus=echo+load=300ms", "-k", "first")
    result = bench.suite(*slower, "--llmci-detect=load_time=30%", *SHORT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.re_match_lines(
        [
            r"llmci: interleaved: 1 cell, up to 5 fresh pairs of processes a model, 10 loads.*",
            r"Gate regression-echo failed:",
            r"  echo as a whole against echo\+load=300ms: load_time \+\d+(\.\d)? % .*",
            r'  if meant: llmci baseline accept "echo\*" --reason .*',
            r"echo as a whole +load .* REGRESSED",
        ]
    )
    assert len(bench.records("worker")) == 10


@pytest.mark.parametrize(
    ("versus", "detect", "said"),
    [
        ("nosuch:thing", "5%", "--llmci-versus: *unknown backend 'nosuch'*"),
        ("echo", "=5%", "--llmci-detect: '=5%' is no smallest change; write metric=5%*"),
        ("echo", "5", "--llmci-detect: '5' is no smallest change; write metric=5%*"),
        ("echo", "latincy=5%", "--llmci-detect: unknown metric 'latincy'*"),
        ("echo", "output_tokens=5%", "--llmci-detect: output_tokens has no better direction*"),
        ("echo", "model_footprint=5%", "--llmci-detect: model_footprint is not measured round by round*"),
        ("echo", "peak_rss_delta=5%", "--llmci-detect: peak_rss_delta is compared with a baseline that holds it: give --llmci-baseline*"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(bench: Bench, versus: str, detect: str, said: str) -> None:
    result = bench.suite("echo", f"--llmci-versus={versus}", f"--llmci-detect={detect}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_the_path_of_a_model_is_not_taken_for_a_baseline(bench: Bench) -> None:
    bench.write("weights/config.json", "{}")
    result = bench.suite("echo", "--llmci-versus=./weights")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "baseline" not in result.stderr.str(), "it is a local folder of weights, and one that lacks them"
    result.stderr.re_match_lines([r"ERROR: .*(weights|needs the package 'torch').*"])
