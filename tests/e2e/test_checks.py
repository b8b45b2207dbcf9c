"""Checks as users ask for them: by flag, settings, marker, row and in a test's body."""

from __future__ import annotations

import pytest
from bench import Bench

ASKS = "--llm-models=echo", "--llm-prompts=prompts.yaml"


def names(bench: Bench) -> set[str]:
    return {check["name"] for cell in bench.results()["cells"] for check in cell["checks"]}


@pytest.mark.parametrize("place", ["flag", "environment", "ini", "tool"])
def test_a_session_names_checks_for_every_answer(bench: Bench, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = []
    if place == "flag":
        arguments = ["--llmci-check=Max-Words:2"]
    elif place == "environment":
        monkeypatch.setenv("LLMCI_CHECK", "Max-Words:2")
    elif place == "ini":
        bench.write("pytest.ini", "[pytest]\nllmci_check =\n    Max-Words:2\n")
    else:
        bench.write("pyproject.toml", '[tool.llmci]\ncheck = ["Max-Words:2"]\n')
    result = bench.suite("echo", *arguments)
    result.assert_outcomes(failed=2)
    assert names(bench) == {"valid", "max_words:2"}
    result.stdout.fnmatch_lines(["*InvalidOutput: max_words:2: expected at most 2 words, found *"])


def test_several_flags_and_commas_inside_of_one(bench: Bench) -> None:
    bench.suite("echo", "--llmci-check=icontains_any:name,colour", "--llmci-check=not:json").assert_outcomes(passed=2)
    assert names(bench) == {"valid", "icontains_any:name,colour", "not:json"}


def test_the_sessions_checks_hold_beside_those_of_marker_and_row_and_not_beside_none(bench: Bench) -> None:
    bench.write("prompts.yaml", "- {id: first, prompt: Name a colour., checks: 'not:json'}\n")
    bench.write(
        "test_it.py",
        """
import pytest
from pytest_llmci import checks

def test_row(llm_result): pass

@pytest.mark.llmci(checks=[checks.not_(checks.contains("zebra")), {"max_chars": 500}])
def test_marker(llm_result): pass

@pytest.mark.llmci(checks=[])
def test_none(llm_result): pass
""",
    )
    bench.run(*ASKS, "--llmci-check=min_words:1", "--llmci-rounds=1").assert_outcomes(passed=3)
    found = {
        verdict["test"].partition("::")[2].partition("[")[0]: [check["name"] for check in verdict["checks"]]
        for verdict in bench.records("verdict")
    }
    assert found == {
        "test_row": ["valid", "min_words:1", "not:json"],
        "test_marker": ["valid", "min_words:1", "not:contains:zebra", "max_chars:500"],
        "test_none": [],
    }


def test_a_rows_checks_and_its_most_tokens_hold_for_what_a_tests_body_asks_too(bench: Bench) -> None:
    bench.write("prompts.yaml", "- {id: first, prompt: Name a colour., checks: json, max_new_tokens: 3}\n")
    bench.write(
        "test_it.py",
        """
import asyncio, pytest

def test_row(llm, llm_prompt): assert llm.generate(llm_prompt).output_tokens == 3
def test_async(llm, llm_prompt): assert asyncio.run(llm.agenerate(llm_prompt)).output_tokens == 3
def test_stream(llm, llm_prompt): assert len("".join(llm.stream(llm_prompt)).split()) == 3
def test_argument(llm, llm_prompt): assert llm.generate(llm_prompt, max_new_tokens=5).output_tokens == 5
def test_text(llm, llm_prompt): assert llm.generate(llm_prompt.text).output_tokens > 5

@pytest.mark.llmci(checks="not:json", max_new_tokens=4)
def test_marker(llm, llm_prompt): assert llm.generate(llm_prompt).output_tokens == 4
""",
    )
    result = bench.run(*ASKS)
    result.assert_outcomes(passed=3, failed=3)
    result.stdout.fnmatch_lines([f"FAILED test_it.py::test_{name}[[]*json: *" for name in ("row", "async", "argument")])


def test_a_wrong_check_of_a_row_is_refused_where_only_a_tests_body_asks(bench: Bench) -> None:
    bench.write("prompts.yaml", "- {id: first, prompt: Name a colour., checks: jsn}\n")
    bench.write("test_it.py", "def test_it(llm, llm_prompt): llm.generate(llm_prompt)\n")
    result = bench.run(*ASKS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*check of echo-first: check 'jsn': unknown check 'jsn'. Did you mean 'json'?*"])
    bench.write(
        "test_it.py",
        "from pytest_llmci import Prompt\n"
        "def test_it(llm): llm.generate(Prompt(id='own', text='Hi', checks=('jsn',)))\n",
    )
    result = bench.run("--llm-models=echo")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["check of llm.generate(): check 'jsn': unknown check*"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("jsn", "--llmci-check: check 'jsn': unknown check 'jsn'. Did you mean 'json'?*"),
        ("is-json", "*Here it is called 'json'.*"),
        ("max_words:many", "--llmci-check: check 'max_words:many': 'many' is not a count;*"),
        ("equals", "*--llmci-check: 'equals' compares with a reference, and prompt 'first' has none;*"),
        ("not:number", "*--llmci-check: 'not:number' compares with a reference, and prompt 'first' has none;*"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_loads(bench: Bench, text: str, reason: str) -> None:
    result = bench.suite("echo", f"--llmci-check={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {reason}" if reason[0] != "*" else reason])
    assert not bench.latest.exists()


def test_a_reference_that_is_there_is_compared_with(bench: Bench) -> None:
    bench.write("prompts.yaml", "- {id: first, prompt: '6 x 7?', reference: '#### 42'}\n")
    bench.write("whole.py", "def answer(prompt):\n    return 'It is 42.'\n")
    bench.suite("py:whole:answer", "--llmci-check=number").assert_outcomes(passed=1)


def test_the_failure_of_an_assertion_says_what_was_expected_and_found(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest
from pytest_llmci.checks import contains, json_schema, max_words

@pytest.mark.llmci(timed=False)
def test_result(llm_result):
    assert llm_result.output.passes(contains("zebra"))

def test_generation(llm, llm_prompt):
    assert llm.generate(llm_prompt, max_new_tokens=8).passes(max_words(100), json_schema({"type": "object"}))

def test_check(llm, llm_prompt):
    assert llm.generate(llm_prompt, max_new_tokens=8).check("json")

def test_function(llm, llm_prompt):
    assert llm.generate(llm_prompt, max_new_tokens=8).passes(lambda text: 5)

def test_unknown(llm, llm_prompt):
    llm.generate(llm_prompt, max_new_tokens=8).passes("jsn")
""",
    )
    result = bench.run(*ASKS, "-k", "first")
    result.assert_outcomes(failed=5)
    result.stdout.no_fnmatch_line("*results.py:*")  # the test's own lines, and not ours
    result.stdout.fnmatch_lines_random([
        '*assert <contains:zebra: failed: expected "zebra" in the output, found "*',
        '*assert <json_schema:{"type":"object"}: failed: the output was cut off *; expected JSON, found "*',
        "*CheckResult(name='json', passed=False, message='the output was cut off at the token limit *",
        "*<lambda>: failed: *returned 5; expected True, False, nothing or a pytest_llmci.CheckResult*",
        "E * pytest_llmci.errors.UnknownNameError: checks: check 'jsn': unknown check 'jsn'. Did you mean 'json'?*",
    ])  # fmt: skip


def test_a_name_that_no_measured_block_has_is_told_without_our_source(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        """
import pytest_llmci

def test_block():
    with pytest_llmci.profile() as measured:
        pass
    assert measured.cpu_tme < 1
""",
    )
    result = bench.run("test_it.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*AttributeError: a measured block has no 'cpu_tme'. Did you mean 'cpu_time'?*"])
    result.stdout.no_fnmatch_line("*profile.py:*")


RAISED = (
    "the output was cut off at the token limit (raise max_new_tokens if it needs more);"
    r" python:mychecks:breaks raised KeyError: 'two\nlines'"
)


def test_a_check_that_raises_is_a_failed_item_of_one_line(bench: Bench) -> None:
    bench.write("mychecks.py", "def breaks(text):\n    raise KeyError('two\\nlines')\n")
    result = bench.suite(
        "echo", "--llmci-check=python:mychecks:breaks", "--llmci-check=not:python:mychecks:breaks", fresh=True
    )
    result.assert_outcomes(failed=2)
    (first, *_) = bench.results()["cells"]
    messages = {check["name"]: check["message"] for check in first["checks"] if not check["passed"]}
    assert messages == {
        "python:mychecks:breaks": RAISED,
        "not:python:mychecks:breaks": RAISED,
    }


def test_numbers_of_the_round_are_there(bench: Bench) -> None:
    checks = ("max_tokens:50", "latency:60s", "not:latency:1ns", "finish_reason:length")
    bench.suite("echo", *(f"--llmci-check={check}" for check in checks)).assert_outcomes(passed=2)
    result = bench.suite("echo", "--llmci-check=cost:5", "--llmci-check=not:cost:5")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*InvalidOutput: cost:5: there is no cost to compare with the limit: no price is*"])


def test_parallel_workers_judge_the_same(bench: Bench) -> None:
    pytest.importorskip("xdist")
    bench.write(
        "test_it.py",
        "import pytest\nfrom pytest_llmci.checks import not_, contains\n\n@pytest.mark.llmci(checks=[not_(contains('zebra'))])\ndef test_it(llm_result): pass\n",
    )
    bench.run(*ASKS, "-n2", "--llmci-rounds=1", fresh=True).assert_outcomes(passed=2)
    assert names(bench) == {"valid", "not:contains:zebra"}


def judge_of(says: str) -> str:
    return f'--llmci-check=judge:{{"model":"big=echo:{says}","rubric":"It is polite."}}'


def test_a_judged_verdict_is_marked_in_terminal_and_log(bench: Bench) -> None:
    result = bench.suite("echo", judge_of("FAIL rude"))
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "  (judged by big=echo:FAIL rude): *",
            "valid: 2 of 4 verdicts on outputs are opinions of big=echo:FAIL rude.",
        ]
    )
    assert {check.get("judged_by") for cell in bench.results()["cells"] for check in cell["checks"]} == {
        "",
        "big=echo:FAIL rude",
    }
    assert [record["role"] for record in bench.records("worker")] == ["timing", "judge"]  # each is loaded once
    assert [model["alias"] for model in bench.results()["models"]] == ["echo"]
    assert {record["model"] for record in bench.records("rounds")} == {"echo"}


def test_a_judge_that_cannot_be_is_refused_before_anything_loads(bench: Bench) -> None:
    result = bench.suite("echo", '--llmci-check=not:judge:{"model":"transfomers:x","rubric":"y"}')
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*transfomers*"])
    assert not bench.latest.exists()
