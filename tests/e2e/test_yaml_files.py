"""``test_*.llm.yaml``: test files without Python."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from bench import Bench

TWO_TESTS = """\
models: [echo, loud=echo]
rounds: 3
max_rounds: 3
warmup: 0
prompts:
  - {id: france, prompt: "What is the capital of France?", checks: ["max_words:60"]}
  - Name a colour.
tests:
  - name: capitals
    checks: [non_empty]
    budgets: [latency.max <= 60s]
  - name: free
    timed: false
    checks: []
    prompts: [Say anything.]
"""
IDS = [
    "test_chat.llm.yaml::capitals[echo-france]",
    "test_chat.llm.yaml::capitals[echo-Name-a-colour]",
    "test_chat.llm.yaml::free[echo-Say-anything]",
    "test_chat.llm.yaml::capitals[loud-france]",
    "test_chat.llm.yaml::capitals[loud-Name-a-colour]",
    "test_chat.llm.yaml::free[loud-Say-anything]",
]


@pytest.fixture
def chat(bench: Bench) -> Bench:
    bench.write("test_chat.llm.yaml", TWO_TESTS)
    return bench


def measured(bench: Bench) -> list[str]:
    return [record["test"] for record in bench.records("verdict")]


def test_each_cell_is_measured_and_judged_as_the_file_says(chat: Bench) -> None:
    chat.run("--llmci").assert_outcomes(passed=6)
    assert measured(chat) == IDS
    verdicts = {record["test"]: record for record in chat.records("verdict")}
    first, free = verdicts[IDS[0]], verdicts[IDS[2]]
    assert [check["name"] for check in first["checks"]] == ["valid", "non_empty", "max_words:60"]
    assert (first["rounds"], [budget["origin"] for budget in first["budgets"]]) == (3, ["test_chat.llm.yaml:11"])
    assert (free["rounds"], free["checks"], free["budgets"]) == (1, [], [])
    assert [record["model"] for record in chat.records("worker")] == ["echo", "loud"]


def test_unarmed_the_file_is_skipped_and_the_flag_named(chat: Bench) -> None:
    result = chat.run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*test_chat.llm.yaml: needs a language model: run with --llm-models=SPEC*"])
    chat.run("-m", "llmci").assert_outcomes(skipped=1)
    chat.write("test_chat.llm.yaml", "a: [")
    chat.run().assert_outcomes(skipped=1)


def test_what_pytest_selects_with(chat: Bench) -> None:
    for args, expected in (
        (("-k", "loud and france"), IDS[3:4]),
        (("test_chat.llm.yaml::capitals",), [*IDS[:2], *IDS[3:5]]),
        ((IDS[5],), IDS[5:]),
        (("--deselect", IDS[0], "-k", "echo"), IDS[1:3]),
    ):
        chat.run("--llmci", *args).assert_outcomes(
            passed=len(expected), deselected=6 - len(expected) if args[0] in ("-k", "--deselect") else 0
        )
        assert measured(chat) == expected
    result = chat.run("--llmci", "--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == IDS
    result = chat.run("--llmci", "--llmci-plan")
    result.stdout.fnmatch_lines(["6 cells, 2 loads*"])


def test_a_failure_is_explained_and_can_be_repeated(chat: Bench) -> None:
    chat.write("test_slow.llm.yaml", "models: echo\nprompts: [Hi.]\nbudgets:\n  - latency.max <= 1ns\n")
    result = chat.run("--llmci", "test_slow.llm.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*test_slow[[]echo-Hi[]]*",
        "BudgetExceeded: latency*",
        "*limit*1 ns*from test_slow.llm.yaml:4",
        '*-k "test_slow[[]echo-Hi[]]"*',
        "FAILED test_slow.llm.yaml::test_slow[[]echo-Hi[]] - latency*",
    ])  # fmt: skip


def test_the_last_failures_are_run_again(chat: Bench) -> None:
    chat.write("test_slow.llm.yaml", "models: echo\nprompts: [Hi., Ho.]\nchecks: ['contains:Hi']\n")
    chat.run_here("-p", "no:randomly", "--llmci").assert_outcomes(passed=7, failed=1)
    chat.run_here("-p", "no:randomly", "--llmci", "--lf").assert_outcomes(failed=1)
    assert measured(chat) == ["test_slow.llm.yaml::test_slow[echo-Ho]"]


def test_python_and_yaml_share_one_load(chat: Bench) -> None:
    chat.write("test_own.py", "def test_it(llm):\n    assert llm.generate('Hi.').text\n")
    chat.run("--llm-models=echo").assert_outcomes(passed=7)
    assert sorted(record["model"] for record in chat.records("worker")) == ["echo", "loud"]
    assert measured(chat)[:3] == IDS[:3]


def test_in_parallel_each_model_is_loaded_once(chat: Bench) -> None:
    pytest.importorskip("xdist")
    chat.run("--llm-models=echo,loud=echo", "-n2", fresh=True).assert_outcomes(passed=6)
    assert sorted(measured(chat)) == sorted(IDS)
    assert sorted(record["model"] for record in chat.records("worker")) == ["echo", "loud"]


def test_numbers_reach_the_junit_file(chat: Bench) -> None:
    chat.run("--llmci", "--junitxml=out.xml")
    cases = ET.parse(chat.path / "out.xml").getroot().iter("testcase")
    case = next(case for case in cases if case.get("name") == "capitals[echo-france]")
    names = {found.get("name") for found in case.iter("property")}
    assert {"llmci.model", "llmci.verdict", "llmci.latency.median"} <= names


def test_models_and_prompts_of_the_session_fill_what_the_file_leaves_open(bench: Bench) -> None:
    bench.write("test_open.llm.yaml", "max_new_tokens: 4\n")
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml").assert_outcomes(passed=2)
    result = bench.run("--llm-models=echo")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: test_open.llm.yaml::test_open: no prompts: give --llm-prompts=*or the key 'prompts'."]
    )
    result = bench.run("--llmci")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: test_open.llm.yaml::test_open: no model: give --llm-models=SPEC*or the key 'models'."]
    )
    bench.write("test_own.py", "def test_mine(): pass\n")
    bench.run("--llmci", "-k", "mine").assert_outcomes(passed=1, deselected=1, failed=1)  # nothing was measured


def test_paths_start_at_the_file(bench: Bench) -> None:
    bench.write("sub/cases.csv", "id,prompt\na,Hi.\n")
    bench.write("sub/test_it.llm.yaml", "models: echo\nprompts: [cases.csv]\n")
    bench.run("--llmci").assert_outcomes(passed=1)
    assert measured(bench) == ["sub/test_it.llm.yaml::test_it[echo-a]"]


def test_which_files_are_taken(bench: Bench) -> None:
    for name in ("a_test.llm.yaml", "test_b.llm.yml", "c.llm.yaml", "test_d.yaml", "test_e.llm.yaml.bak"):
        bench.write(name, "models: echo\nprompts: [Hi.]\n")
    bench.run("--llmci").assert_outcomes(passed=2)
    bench.run("--llmci", "c.llm.yaml").assert_outcomes(passed=1)
    result = bench.run("--llmci", "test_d.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_all_faults_of_a_file_are_one_short_block(bench: Bench) -> None:
    bench.write(
        "test_bad.llm.yaml",
        "models: [echo, nosuch:x]\nround: 2\nbudgets: [latncy <= 5s]\nchecks: [max_wrds:4]\nprompts: [{id: a b, prompt: Hi.}, none.yaml]\n",
    )
    bench.write("test_good.llm.yaml", "models: echo\nprompts: [Hi.]\n")
    result = bench.run("--llmci")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1, skipped=1)  # the gate
    result.stdout.fnmatch_lines(
        [
            "*ERROR collecting test_bad.llm.yaml*",
            "test_bad.llm.yaml:1:16: models[[]2[]]: unknown backend 'nosuch'.*",
            "test_bad.llm.yaml:2:1: round: unknown key 'round'. Did you mean 'rounds'?",
            "test_bad.llm.yaml:3:11: budgets[[]1[]]: *unknown metric 'latncy'. Did you mean 'latency'?*",
            "test_bad.llm.yaml:4:10: checks[[]1[]]: *unknown check 'max_wrds'. Did you mean 'max_words'?*",
            "test_bad.llm.yaml:5:12: prompts[[]1[]].id: 'a b' cannot be part of a test's name;*",
            "test_bad.llm.yaml:5:35: prompts[[]2[]]: there is no prompt file 'none.yaml'.*",
            "*short test summary*",
        ],
        consecutive=True,
    )
    assert "Traceback" not in result.stdout.str()
    bench.run("--llmci", "--continue-on-collection-errors").assert_outcomes(passed=1, errors=1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rounds: 5\nmax_rounds: 3\n", ":2:13: max_rounds: max_rounds=3 is less than rounds=5."),
        (
            "timed: false\nbudgets: [latency <= 1s]\n",
            ":2:11: budgets[[]1[]]: 'latency <= 1s' can never be judged: with timed: false*",
        ),
        ("budgets: [output_tokens <= 2, output_tokens >= 9]\n", ":1:10: budgets: *contradict*"),
        (
            "checks: []\nprompts: [{prompt: Hi., checks: json}]\n",
            ":2:11: prompts[[]1[]]: the prompt 'Hi' has checks, and checks: [[][]] switches*",
        ),
        (
            "models: [a=echo, a=echo:x]\n",
            ":1:18: models[[]2[]]: a model called 'a' is listed already; name it: other=a=echo:x.",
        ),
        ("prompts: [paper, paper]\n", ":1:10: prompts: two prompts of *have the id 'tcp-udp'; rename one of them."),
    ],
)
def test_what_cannot_be_together_is_a_fault_with_its_place(bench: Bench, text: str, told: str) -> None:
    for key, value in (("models", "echo"), ("prompts", "[Hi.]")):
        text += "" if key in text else f"{key}: {value}\n"
    bench.write("test_it.llm.yaml", text)
    result = bench.run("--llmci")
    result.stdout.fnmatch_lines([f"test_it.llm.yaml{told}"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_pytest_markers_are_heeded(bench: Bench) -> None:
    bench.write(
        "test_it.llm.yaml",
        "models: echo\nprompts: [Hi.]\nmarks: [slow]\ntests:\n  - {name: a}\n  - {name: b, marks: {skip: too dear}}\n"
        "  - {name: c, marks: [{xfail: no French}], checks: ['contains:nowhere']}\n",
    )
    bench.write("pytest.ini", "[pytest]\nmarkers = slow: takes long\n")
    bench.run("--llmci", "-m", "slow").assert_outcomes(passed=1, skipped=1, xfailed=1)
    bench.run("--llmci", "-m", "not slow").assert_outcomes(deselected=3, failed=1)  # nothing was measured
    bench.write("pytest.ini", "[pytest]\naddopts = --strict-markers\n")
    result = bench.run("--llmci", fresh=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["test_it.llm.yaml:3:9: marks[[]1[]]: 'slow' not found in `markers` configuration option"]
    )


def test_a_budget_for_no_model_of_the_file_is_told(bench: Bench) -> None:
    bench.write("test_it.llm.yaml", "models: echo\nprompts: [Hi.]\nbudgets: ['nosuch*: latency <= 9s']\n")
    result = bench.run("--llmci")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["  no cell matches the budget nosuch[*]: latency <= 9s (from test_it.llm.yaml:3)"])


def test_what_is_drawn_and_how_long_is_as_the_file_says(bench: Bench) -> None:
    bench.write(
        "test_it.llm.yaml",
        "models: echo\nmax_new_tokens: 9\ntemperature: 0.5\nseed: 7\nprompts:\n  - Hi.\n  - {prompt: Ho., max_new_tokens: 5}\n",
    )
    bench.run("--llmci", "--llmci-max-new-tokens=30", "--llmci-seed=1").assert_outcomes(passed=2)
    found = [block["generation"] for block in bench.records("rounds")]
    assert [(one["max_new_tokens"], one["temperature"], one["seed"]) for one in found] == [(9, 0.5, 7), (5, 0.5, 7)]


def test_a_baseline_and_a_comparison_pair_the_cells(chat: Bench) -> None:
    chat.run("--llmci", "--llmci-save-baseline").assert_outcomes(passed=6)
    result = chat.run("--llmci", "--llmci-baseline")
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    assert "lost" not in result.stdout.str()
    result = chat.run("--llmci", "--llmci-versus=other=echo", "-k", "echo and capitals")
    assert {record["test"] for record in chat.records("verdict") if record["comparisons"]} == set(IDS[:2])


def test_texts_stay_out_of_faults_where_they_are_withheld(bench: Bench) -> None:
    bench.write("test_it.llm.yaml", "models: echo\nprompts: ['my secret plan', 'my secret plan']\n")
    result = bench.run("--llmci", "--llmci-redact")
    assert "the prompt of line 2 has the id" in result.stdout.str() and "secret" not in result.stdout.str()


def test_the_suite_runs_beside_test_files(chat: Bench) -> None:
    result = chat.run(
        "--llmci", "--llm-models=echo", "--llmci-suite=inference", "--llm-prompts=prompts.yaml", "--llmci-rounds=1", "."
    )
    result.assert_outcomes(passed=8)
    result = chat.run(
        "--llm-models=echo",
        "--llm-prompts=prompts.yaml",
        "--llmci-rounds=1",
        "inference::echo-first",
        "test_chat.llm.yaml",
    )
    result.assert_outcomes(passed=7, deselected=1)


def test_a_marker_that_is_not_registered_is_a_warning_at_its_line(bench: Bench) -> None:
    bench.write("test_it.llm.yaml", "models: echo\ntimed: false\nprompts: [Hi.]\nmarks: [slooow]\n")
    result = bench.run("--llmci", "test_it.llm.yaml", "-W", "default")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*test_it.llm.yaml:4: PytestUnknownMarkWarning: Unknown pytest.mark.slooow*"])
