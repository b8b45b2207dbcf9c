"""Test functions whose only fixtures are ours: one phase in place of three, and nobody sees the difference."""

from __future__ import annotations

import re

import pytest
from bench import Bench

ALONE = tuple(f"-pno:{name}" for name in ("anyio", "benchmark", "hypothesispytest", "rerunfailures", "timeout"))
"""Other plugins that listen to the phases of a test."""
NOTES_SHORT = """\
from pathlib import Path
from pytest_llmci.plugin.protocol import FunctionsShort

run = FunctionsShort.run

def noted(self, item, *given):
    with Path(__file__).with_name("short.txt").open("a") as stream:
        print(item.name, file=stream)
    return run(self, item, *given)

FunctionsShort.run = noted
"""
NOTES_CALLS = """\
from pytest_llmci.plugin import running

run_along = running.run_along

def noted(run, tests, config):
    ran = []
    run_along(lambda item, following: (ran.append(item.name), run(item, following)), tests, config)
    with Path(__file__).with_name("calls.txt").open("a") as stream:
        print(len(ran), file=stream)

running.run_along = noted
"""
LISTENS = "def pytest_runtest_setup(item): pass\n"
"""What sends every test the long way."""
TESTS = """\
import logging, os, warnings
import pytest

def test_passes(llm_result):
    print("said while it passes")
    assert os.environ["PYTEST_CURRENT_TEST"].endswith("(call)")

def test_fails(llm_result):
    print("said before it fails")
    logging.getLogger("mine").warning("noted before it fails")
    assert llm_result.output.text == "something else"

@pytest.mark.llmci(budgets="output_tokens < 1")
def test_misses_its_budget(llm_result):
    pass

def test_skips(llm, llm_prompt):
    pytest.skip("not now")

def test_warns(llm):
    warnings.warn("mind this")

def test_ignores_what_it_is_warned_of(llm_result):
    warnings.simplefilter("ignore")
    warnings.warn("of no interest")

def test_is_warned_all_the_same(llm_result):
    warnings.warn("of interest")

def test_sends_warnings_elsewhere(llm_result):
    logging.captureWarnings(True)
    logging._warnings_showwarning = None  # or it would not do so twice

def test_has_its_warnings_told(llm_result):
    warnings.warn("told where all are")

@pytest.mark.parametrize("llm", ["nonsense:x"], indirect=True)
def test_cannot_be_set_up(llm, llm_prompt):
    raise AssertionError("never reached")

@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail(llm_result):
    assert False

def test_has_a_fixture_of_its_own(llm_result, tmp_path):
    assert not [*tmp_path.iterdir()]

def test_reads_its_log(llm_result, caplog):
    assert caplog.get_records("setup") == []

def test_asks_no_model():
    assert os.environ["PYTEST_CURRENT_TEST"].endswith("(call)")

@pytest.mark.parametrize("llm", ["no model of ours"])
def test_has_its_own_argument(llm):
    assert llm == "no model of ours"

def test_has_something_torn_down(llm_result, request):
    request.addfinalizer(lambda: print("said when it is torn down"))

class TestClass:
    def test_method(self, llm_result):
        pass

def test_last(llm_result):
    pass
"""
SHORT = (
    "test_passes",
    "test_fails",
    "test_misses_its_budget",
    "test_skips",
    "test_warns",
    "test_ignores_what_it_is_warned_of",
    "test_is_warned_all_the_same",
    "test_sends_warnings_elsewhere",
    "test_has_its_warnings_told",
    "test_cannot_be_set_up",
    "test_last",
)
TOLD = re.compile("PASSED|FAILED|ERROR|SKIPPED|XFAIL|E  |[-_=]{3,} ")
"""Headings, what assertions say, and the summary."""


def lines_of(text: str) -> list[str]:
    """What is shown, without what no two runs have in common."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    return sorted(re.sub(r"\S*\d\S*( [nmu\u00b5]?s\b)?", "#", line) for line in plain.splitlines())


def shown(bench: Bench, *options: str) -> tuple[list[str], dict[str, int]]:
    result = bench.run(
        "--llm-models=a=echo,b=echo", "--llm-prompts=prompts.yaml", "--llmci-isolation=inline", "--llmci-rounds=1",
        "--llmci-warmup=0", *ALONE, *options, fresh=True,
    )  # fmt: skip
    return result.outlines, result.parseoutcomes()


@pytest.mark.parametrize("options", [("-rA",), ("-q", "-rA"), ("-n2", "-rA")], ids=["alone", "quiet", "parallel"])
def test_both_ways_say_the_same(bench: Bench, options: tuple[str, ...]) -> None:
    bench.write("test_it.py", TESTS)
    bench.write("conftest.py", NOTES_SHORT)
    lines, outcomes = shown(bench, *options)
    took = (bench.path / "short.txt").read_text().splitlines()
    verdicts = sorted((record["test"], record["verdict"]) for record in bench.records("verdict"))
    assert {name.partition("[")[0] for name in took} == {*SHORT}
    assert not any(name.startswith("test_last[b-second") for name in took) or "-n2" in options
    (bench.path / "short.txt").unlink()
    bench.write("conftest.py", NOTES_SHORT + LISTENS)
    long_lines, long_outcomes = shown(bench, *options)
    assert not (bench.path / "short.txt").exists()
    assert outcomes == long_outcomes
    assert outcomes["errors"] == 2
    assert verdicts == sorted((record["test"], record["verdict"]) for record in bench.records("verdict"))
    assert lines_of("\n".join(filter(TOLD.match, lines))) == lines_of("\n".join(filter(TOLD.match, long_lines)))
    assert any("said before it fails" in line for line in lines)
    assert any("noted before it fails" in line for line in lines)


def test_an_error_of_the_teardown_is_told(bench: Bench) -> None:
    breaks = (
        "from _pytest.runner import SetupState\n\nexact = SetupState.teardown_exact\n\n"
        "def broken(self, nextitem):\n    exact(self, nextitem)\n"
        "    if nextitem is not None and nextitem.name == 'test_second[a-second]':\n        raise OSError('it is in use')\n\n"
        "SetupState.teardown_exact = broken\n"
    )
    bench.write("conftest.py", NOTES_SHORT + breaks)
    bench.write("test_it.py", "def test_first(llm_result):\n    pass\n\ndef test_second(llm_result):\n    pass\n")
    lines, outcomes = shown(bench, "-rE")
    assert "test_first[a-second]" in (bench.path / "short.txt").read_text()
    assert outcomes == {"passed": 8, "errors": 1}
    assert any("ERROR at teardown of test_" in line for line in lines)
    assert any("OSError: it is in use" in line for line in lines)


def test_a_conftest_that_listens_still_hears_of_each_fixture(bench: Bench) -> None:
    """Where nobody does, pytest sets none of them up."""
    bench.write("test_it.py", "def test_first(llm_result):\n    pass\n\ndef test_second(llm_result):\n    pass\n")
    heard = (
        "import pytest\n\n\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_fixture_setup(fixturedef):\n"
        "    with Path(__file__).with_name('heard.txt').open('a') as stream:\n        print(fixturedef.argname, file=stream)\n"
        "    return (yield)\n"
    )
    bench.write("conftest.py", NOTES_SHORT + heard)
    _, outcomes = shown(bench)
    assert outcomes == {"passed": 8}
    assert len((bench.path / "short.txt").read_text().split()) == 7
    names = (bench.path / "heard.txt").read_text().split()
    assert {name: names.count(name) for name in ("llm", "llm_prompt", "llm_result")} == {
        "llm": 8,
        "llm_prompt": 8,
        "llm_result": 8,
    }


@pytest.mark.parametrize(
    ("listens", "calls"),
    [
        ("", [7]),
        ("def pytest_assertion_pass(item): pass\n", []),
        ("def pytest_runtest_protocol(item): pass\n", []),
    ],
)
def test_those_of_a_module_run_within_one_call(bench: Bench, listens: str, calls: list[int]) -> None:
    """Where nobody else is called for each, or told which test an assertion stands in."""
    bench.write("test_it.py", "def test_first(llm_result):\n    pass\n\ndef test_second(llm_result):\n    pass\n")
    bench.write("conftest.py", NOTES_SHORT + NOTES_CALLS + listens)
    _, outcomes = shown(bench)
    assert outcomes == {"passed": 8}
    path = bench.path / "calls.txt"
    assert ([int(line) for line in path.read_text().split()] if path.exists() else []) == calls
    assert len((bench.path / "short.txt").read_text().split()) == 7


def test_a_call_ends_with_a_test_that_warns_or_changes_how_it_is_warned(bench: Bench) -> None:
    bench.write(
        "test_it.py",
        "import warnings\n\ndef test_first(llm_result):\n    pass\n\n"
        "def test_second(llm_result):\n    warnings.simplefilter('error')\n\n"
        "def test_third(llm_result):\n    warnings.warn('mind this')\n\ndef test_last(llm_result):\n    pass\n",
    )
    bench.write("conftest.py", NOTES_SHORT + NOTES_CALLS)
    _, outcomes = shown(bench)
    assert outcomes == {"passed": 16, "warnings": 4}
    assert (bench.path / "calls.txt").read_text().split()[0] == "3"
