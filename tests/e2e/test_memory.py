"""What memory says of planted truths."""

from __future__ import annotations

import sys

import pytest
from bench import Bench, unwrapped
from repositories import Repository
from timing import on_real_time

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
MIB = 1 << 20


def test_the_mean_growth_is_the_slope_of_a_leak(bench: Bench) -> None:
    models = "tight=echo,leaky=echo+leak=8MiB"
    bench.suite(models, "--llmci-rounds=4", "--llmci-budget=leaky: rss_growth.mean <= 4MiB")
    growth = {model["alias"]: model["metrics"]["rss_growth"] for model in bench.results()["models"]}
    assert growth["leaky"]["mean"] == pytest.approx(8 * MIB, rel=0.02)
    assert abs(growth["tight"]["mean"]) < MIB
    assert {line["model"]: line["verdict"] for line in bench.records("verdict")} == {"tight": "pass", "leaky": "failed"}


def test_the_first_inference_of_a_process_has_no_growth(bench: Bench) -> None:
    bench.suite("echo", "--llmci-rounds=1", "--llmci-warmup=0")
    first, second = bench.results()["cells"]
    assert "first inference of its process" in first["metrics"]["rss_growth"]["reason"]
    assert second["metrics"]["rss_growth"]["n"] == 1


def roles(bench: Bench) -> list[tuple[str, str]]:
    """(model, what its process was for) of each start."""
    return [(line["model"], line["role"]) for line in bench.records("worker")]


def test_growth_is_exact_in_the_memory_pass(bench: Bench) -> None:
    bench.suite("a=echo:x+alloc=24MiB+alloc_ms=1", "--llmci-memory=exact").assert_outcomes(passed=2)
    results = bench.results()
    for cell in results["cells"]:
        growth = cell["metrics"]["peak_rss_delta"]
        assert growth["n"] == 3
        assert growth["median"] == pytest.approx(24 * MIB, abs=MIB)
        assert growth["max"] - growth["min"] < 0.005 * 24 * MIB
        assert (cell["rounds"], cell["metrics"]["peak_rss"]["n"]) == (2, 2)
    assert roles(bench) == [("a", "timing"), ("a", "memory")]
    (model,) = results["models"]
    assert (model["worker_starts"], model["metrics"]["load_time"]["n"]) == (2, 1)


def test_a_block_of_the_memory_pass_holds_memory_and_outputs_alone(bench: Bench) -> None:
    bench.suite("a=echo:x+alloc=8MiB", "--llmci-memory=exact")
    timed, passed, *_ = bench.records("rounds")
    assert (timed["origin"], passed["origin"], passed["n"]) == ("measured", "memory", 3)
    assert set(passed["values"]) == {"peak_rss_delta"}
    assert "peak_rss_delta" not in timed["values"]
    assert "memory pass" in timed["reasons"]["peak_rss_delta"]
    assert passed["output_sha256"] == timed["output_sha256"]
    assert passed["token_ns"] == [[], [], []]
    rows = (bench.latest / "results.csv").read_text("utf-8")
    assert rows.count(",memory,of the memory pass: only memory counts,") == 6


def test_only_a_budget_asks_for_the_memory_pass(bench: Bench) -> None:
    result = bench.suite("grows=echo:x+alloc=8MiB,other=echo:x", "--llmci-budget=grows: peak_rss_delta <= 4MiB")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*BudgetExceeded: peak_rss_delta * MiB is over 4 MiB*", "*decided*max of 3 rounds*"])
    assert roles(bench) == [("grows", "timing"), ("grows", "memory"), ("other", "timing")]
    missing = next(model for model in bench.results()["models"] if model["alias"] == "other")["metrics"][
        "peak_rss_delta"
    ]
    assert missing == {
        "n": 0,
        "reason": "it is measured in a memory pass, which a budget on it or --llmci-memory=exact asks for",
    }


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--llmci-memory=some"], "*--llmci-memory: 'some' is none of auto, exact, off."),
        (
            ["--llmci-memory=exact", "--llmci-isolation=inline"],
            "*--llmci-memory: exact needs a process of its own for the memory pass, and --llmci-isolation is inline*",
        ),
        (
            ["--llmci-memory=off", "--llmci-budget=peak_rss_delta <= 1MiB"],
            "*'peak_rss_delta <= 1MiB' can never be judged for a: there is no memory pass (--llmci-memory=off).",
        ),
        (
            ["--llmci-isolation=inline", "--llmci-budget=peak_rss_delta <= 1MiB"],
            "*can never be judged for a: the memory pass needs a process of its own (--llmci-isolation=worker).",
        ),
    ],
)
def test_what_no_memory_pass_can_give_is_refused(bench: Bench, flags: list[str], line: str) -> None:
    result = bench.suite("a=echo:x", *flags)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_off_says_so(bench: Bench) -> None:
    bench.suite("a=echo:x", "--llmci-memory=off").assert_outcomes(passed=2)
    assert bench.records("rounds")[0]["reasons"]["peak_rss_delta"] == "there is no memory pass (--llmci-memory=off)"


def test_a_death_in_the_memory_pass_fails_the_cell_and_leaves_its_rounds_judged(bench: Bench) -> None:
    bench.write(
        "fragile.py",
        "import os\ndef answer(prompt):\n"
        "    if 'MALLOC_MMAP_THRESHOLD_' in os.environ:\n        os.abort()\n    return 'fine'\n",
    )
    bench.write("prompts.yaml", "".join(f"- {{id: p{number}, prompt: Say {number}.}}\n" for number in range(4)))
    result = bench.suite(
        "fragile=py:fragile:answer", "--llmci-memory=exact", "--llmci-budget=latency.max <= 1min", fresh=True
    )
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            "WorkerCrashed: memory pass: fragile *",
            "  where      the memory pass, after the rounds; --llmci-memory=off leaves it out",
            "ModelGivenUp: memory pass: not run: fragile died 2 times in a row*",
            "fragile * 4/4",
        ]
    )
    timed = [line for line in bench.records("rounds") if line["origin"] == "measured"]
    assert [(line["n"], line["error"]) for line in timed] == [(2, None)] * 4
    assert [(len(line["checks"]), len(line["budgets"])) for line in bench.records("verdict")] == [(1, 1)] * 4
    assert roles(bench) == [("fragile", "timing"), ("fragile", "memory"), ("fragile", "memory")]


def test_growth_and_children_stand_below_the_table(bench: Bench) -> None:
    bench.write(
        "server.py",
        "import subprocess, sys\nchildren = []\n"
        "def answer(prompt):\n    if not children:\n"
        "        children.append(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']))\n    return 'fine'\n",
    )
    result = bench.suite("a=echo:x+alloc=24MiB,s=py:server:answer", "--llmci-memory=exact", fresh=True)
    result.stdout.fnmatch_lines(
        [
            "Memory that an answer takes, at most: a 2?* MiB*",
            "Memory of child processes, at most: s * MiB.",
            "Own cost: *",
        ]
    )


def test_a_test_reads_growth_where_a_pass_was_made(bench: Bench) -> None:
    bench.write(
        "test_memory.py",
        "import pytest\n"
        "@pytest.mark.llmci(budgets=['peak_rss_delta <= 64MiB'])\n"
        "def test_with(llm_result): assert 8e6 < llm_result.peak_rss_delta.median < 10e6\n"
        "def test_without(llm_result): assert llm_result.peak_rss_delta.median < 1\n"
        "def test_call(llm, llm_prompt): assert llm.generate(llm_prompt).peak_rss_delta < 1\n",
    )
    result = bench.run("--llm-models=a=echo:x+alloc=8MiB", "--llm-prompts=prompts.yaml", "--llmci-rounds=2")
    result.assert_outcomes(passed=2, failed=4)
    result.stdout.fnmatch_lines(
        [
            "*MissingValue: it is measured in a memory pass, which a budget on it*",
            "*MissingValue: a single call has no memory pass*",
        ]
    )


def test_the_plan_counts_the_second_start(bench: Bench) -> None:
    result = bench.suite("a=echo:x", "--llmci-memory=exact", "--llmci-plan")
    result.stdout.fnmatch_lines(["model * most  memory  loads *", "a* 2 * 4 * 40 * 6 * 2 *", "2 cells, 2 loads*"])


GROWS = "a=echo:x+alloc={}MiB+alloc_ms=1"


def growth_results(bench: Bench) -> list[tuple[str, str]]:
    """(against, verdict) of what the memory passes are compared with, cell by cell."""
    return [
        (each["against"], each["verdict"])
        for line in bench.records("verdict")
        for each in line["comparisons"]
        if each["metric"] == "peak_rss_delta"
    ]


@on_real_time
def test_a_baseline_that_holds_a_memory_pass_asks_for_one(bench: Bench) -> None:
    rounds = ("--llmci-rounds=3", "--llmci-max-rounds=3")
    bench.suite(GROWS.format(24), "--llmci-save-baseline=without", *rounds)
    bench.suite(GROWS.format(24), "--llmci-baseline=without", *rounds)
    assert (roles(bench), growth_results(bench)) == ([("a", "timing")], [])
    assert bench.suite(GROWS.format(24), "--llmci-memory=exact", "--llmci-save-baseline", *rounds).ret == 0
    same = bench.suite(GROWS.format(24), "--llmci-baseline", *rounds)
    assert same.ret == 0
    assert roles(bench) == [("a", "timing"), ("a", "memory")]
    assert growth_results(bench) == [("main", "pass")] * 2
    grown = bench.suite(GROWS.format(28), "--llmci-baseline", *rounds)
    assert grown.ret == pytest.ExitCode.TESTS_FAILED
    assert growth_results(bench) == [("main", "regressed")] * 2
    grown.stdout.fnmatch_lines(["RegressionDetected: RAM growth 1*% more than main*"])
    bench.suite(GROWS.format(28), "--llmci-baseline", "--llmci-memory=off", *rounds)
    assert growth_results(bench) == []
    asked = bench.suite(
        GROWS.format(28),
        "--llmci-baseline=without",
        "--llmci-detect=peak_rss_delta=5%",
        "--llmci-inconclusive=fail",
        *rounds,
    )
    assert asked.ret == pytest.ExitCode.TESTS_FAILED
    assert "missing on the side of the reference: there was no memory pass (--llmci-memory)" in unwrapped(asked)


GREEDY = "def answer(prompt):\n    held = bytearray({} << 20)\n    return 'an answer of ' + str(len(held) > 0)\n"


@on_real_time
def test_a_baseline_that_is_measured_again_is_compared_by_its_stored_memory_pass(bench: Bench) -> None:
    bench.write(".gitignore", "__pycache__/\n*.pyc\nrunpytest-*\nstderr\nstdout\ntiming.lock*\nllmci-baselines/\n")
    bench.write("app/__init__.py", "")
    bench.write("app/bot.py", GREEDY.format(24))
    bench.write(
        "pyproject.toml",
        '[tool.llmci]\nmodels = ["bot=py:app.bot:answer"]\nprompts = ["prompts.yaml"]\nsuite = ["inference"]\n',
    )
    Repository(bench.path).commit("first")
    rounds = ("--llmci-rounds=3", "--llmci-max-rounds=3")
    assert bench.run("--llmci", "--llmci-memory=exact", "--llmci-save-baseline", *rounds, fresh=True).ret == 0
    bench.write("app/bot.py", GREEDY.format(28))
    result = bench.run("--llmci", "--llmci-baseline", "--llmci-detect=90%", *rounds, fresh=True)
    result.stdout.re_match_lines([r"llmci: baseline main is measured again, alternately.*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert growth_results(bench) == [("main", "regressed")] * 2
