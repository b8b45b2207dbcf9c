"""Ordinary pytest, and other plugins beside us."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from xml.etree import ElementTree

import pytest
from bench import Bench

from pytest_llmci.clock import SystemClock
from pytest_llmci.engine.exclusive import MachineLock
from pytest_llmci.store.verify import verify_log


@pytest.fixture(autouse=True)
def every_plugin(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here whatever is installed takes part."""
    monkeypatch.delenv("PYTEST_ADDOPTS")


def test_last_failed_runs_the_failed_cell_again(bench: Bench) -> None:
    args = (
        "--llm-models=a=echo,b=echo+fail=no",
        "--llmci-suite=inference",
        "--llm-prompts=prompts.yaml",
        "--llmci-rounds=1",
        "-p",
        "no:randomly",
    )
    bench.run_here(*args).assert_outcomes(passed=2, failed=2)
    result = bench.run_here(*args, "--lf")
    result.assert_outcomes(failed=2, deselected=2)


def test_stops_at_the_first_failure(bench: Bench) -> None:
    result = bench.suite("a=echo+fail=no,b=echo", "-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert {block["model"] for block in bench.records("rounds")} == {"a"}


def test_deselects_by_node_id(bench: Bench) -> None:
    bench.suite("echo", "--deselect=inference::echo-first").assert_outcomes(passed=1, deselected=1)


def test_junit_counts_cells_and_gates(bench: Bench) -> None:
    bench.suite("echo", "--junitxml=out.xml", "--llmci-max-latency=other*:1s", "--llmci-budget=output_tokens <= 1")
    suite = ElementTree.parse(bench.path / "out.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "3", "0")
    names = {case.get("name") for case in suite.iter("testcase")}
    assert {"echo-first", "echo-second", "gate[coverage]"} <= {name.rpartition("::")[2] for name in names if name}
    assert "llmci_records" not in (bench.path / "out.xml").read_text()


def test_reruns_start_afresh_and_the_last_attempt_counts(bench: Bench) -> None:
    pytest.importorskip("pytest_rerunfailures")
    bench.write(
        "test_it.py",
        "import pathlib, pytest\n@pytest.mark.llmci(rounds=2)\ndef test_cell(llm_result):\n"
        "    mark = pathlib.Path('been'); first = not mark.exists(); mark.touch(); assert not first\n",
    )
    bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", "--reruns=1", "-k", "first").assert_outcomes(passed=1)
    assert [block["attempt"] for block in bench.records("rounds")] == [0, 1]
    assert len((bench.latest / "results.csv").read_text().splitlines()) >= 3
    import json

    assert json.loads((bench.latest / "results.json").read_text())["models"][0]["rounds"] == 2


def test_reruns_repeat_a_suites_cell(bench: Bench) -> None:
    pytest.importorskip("pytest_rerunfailures")
    result = bench.suite("echo+fail=no", "--reruns=1", "-k", "first")
    result.assert_outcomes(failed=1)
    assert [block["attempt"] for block in bench.records("rounds")] == [0, 1]


@pytest.mark.parametrize("method", ["signal"])
def test_a_foreign_timeout_fails_the_test_and_ends_the_model(bench: Bench, method: str) -> None:
    pytest.importorskip("pytest_timeout")
    result = bench.suite(
        "echo+hang=sleep+only_prompt=first", "--timeout=5", f"--timeout-method={method}", "--llmci-rounds=1"
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Timeout*5*"])
    assert [block["error"] and block["error"]["kind"] for block in bench.records("rounds")] == ["interrupted", None]


@pytest.mark.parametrize("method", ["signal", "thread"])
@pytest.mark.parametrize("func_only", ["true", "false"])
def test_a_foreign_timeout_does_not_count_loading(bench: Bench, method: str, func_only: str) -> None:
    pytest.importorskip("pytest_timeout")
    bench.write("test_it.py", "def test_it(llm): assert llm.generate('hi').text\n")
    args = ("--timeout=4", f"--timeout-method={method}", "-o", f"timeout_func_only={func_only}")
    result = bench.run("--llm-models=echo+load=4500ms", *args, fresh=True)
    result.assert_outcomes(passed=1)


def test_a_foreign_timeout_counts_again_after_loading(bench: Bench) -> None:
    pytest.importorskip("pytest_timeout")
    result = bench.suite("echo+load=300ms+hang=sleep+only_prompt=first", "--timeout=4", "-k", "first", fresh=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["Failed: Timeout (>4.0s) from pytest-timeout."])
    result.stdout.no_fnmatch_line("*/_pytest/*.py:*")


def test_a_foreign_timeout_ends_at_the_line_of_the_test(bench: Bench) -> None:
    pytest.importorskip("pytest_timeout")
    bench.write("test_it.py", "def test_it(llm):\n    assert llm.generate('hi').text\n")
    result = bench.run("--llm-models=echo+hang=sleep", "--timeout=4", "--timeout-method=signal", fresh=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *Failed: Timeout (>4.0s)*", "test_it.py:2: Failed"])


@pytest.mark.skipif(os.name != "posix", reason="needs locks on files")
def test_a_foreign_timeout_does_not_count_the_wait_for_the_machine(bench: Bench) -> None:
    pytest.importorskip("pytest_timeout")
    lock = MachineLock(bench.path / "timing.lock", SystemClock())
    with ExitStack() as held:
        held.enter_context(lock.held(lambda: None, lambda text: None))
        threading.Timer(6, held.close).start()
        began = time.monotonic()
        result = bench.suite("echo", "--timeout=4", "-k", "first", fresh=True)
    assert time.monotonic() - began > 6
    result.assert_outcomes(passed=1)
    lock.close()


def test_random_order_keeps_models_together(bench: Bench) -> None:
    pytest.importorskip("pytest_randomly")
    bench.write("test_it.py", "def test_a(llm_result): pass\ndef test_b(llm_result): pass\n")
    args = (
        "--llm-models=a=echo,b=echo,c=echo",
        "--llm-prompts=prompts.yaml",
        "--llmci-rounds=1",
        "-p",
        "no:cacheprovider",
    )
    for seed in (1, 2, 3):
        result = bench.pytester.runpytest_subprocess(*args, f"--randomly-seed={seed}")
        result.assert_outcomes(passed=12)
        assert sorted(worker["model"] for worker in bench.records("worker")) == ["a", "b", "c"]


def test_a_conftest_that_listens_to_phases_hears_every_cell(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        "def pytest_runtest_setup(item):\n    with open('heard', 'a') as file: file.write(item.name + '\\n')\n",
    )
    bench.suite("echo").assert_outcomes(passed=2)
    assert (bench.path / "heard").read_text().split() == ["echo-first", "echo-second"]


ALONE = (
    "-p",
    "no:benchmark",
    "-p",
    "no:rerunfailures",
    "-p",
    "no:timeout",
    "-p",
    "no:hypothesispytest",
    "-p",
    "no:anyio",
)
"""Without other plugins cells take the short way through pytest."""


def test_who_listens_to_reports_hears_the_teardown_of_every_cell(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        "def pytest_runtest_logreport(report):\n    print('heard', report.when, report.nodeid)\n",
    )
    heard = [line for line in bench.suite("echo", "-s", *ALONE).outlines if "heard" in line]
    assert [line.split("heard ")[1] for line in heard] == [
        f"{when} inference::echo-{name}" for name in ("first", "second") for when in ("call", "teardown")
    ]


def test_observers_see_records_and_a_failing_one_fails_nothing(bench: Bench) -> None:
    bench.write(
        "conftest.py",
        """
kinds = []
def pytest_llmci_record(config, record):
    kinds.append(record.TYPE)
    if record.TYPE == "gate": raise ValueError("observer")
def pytest_llmci_report(config, report):
    print("SEEN", sorted(set(kinds)), len(report.cells), report.models[0].alias)
def pytest_llmci_environment(config):
    return {"team": "aviary"}
""",
    )
    result = bench.suite("echo", "-s", fresh=True)
    assert result.ret == 0
    assert "SEEN ['gate', 'rounds', 'verdict', 'worker'] 2 echo" in result.stdout.str()
    assert bench.records("header")[0]["environment"]["team"] == "aviary"


def test_observers_that_raise_fail_nothing_though_warnings_are_errors(bench: Bench) -> None:
    bench.write("conftest.py", "def pytest_llmci_record(config, record): raise ValueError('observer')\n")
    result = bench.suite("echo", "-W", "error", fresh=True)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["warning: pytest_llmci_record: ValueError: observer"])


def test_facts_that_cannot_be_told_are_a_warning_and_the_run_is_whole(bench: Bench) -> None:
    bench.write("conftest.py", "def pytest_llmci_environment(config): raise ValueError('observer')\n")
    result = bench.suite("echo")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["warning: pytest_llmci_environment: ValueError: observer"])
    assert bench.records("header")[0]["environment"]["python"]
    assert verify_log(bench.latest / "log.jsonl").ok


@pytest.mark.parametrize("hook", ["pytest_llmci_register(registry)", "pytest_llmci_modify_cells(cells)"])
@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "parallel"])
def test_a_hook_that_raises_is_a_usage_error(bench: Bench, hook: str, workers: list[str]) -> None:
    bench.write("conftest.py", f"def {hook}: raise ValueError('broken hook')\n")
    result = bench.suite("echo", *workers, fresh=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "ValueError: broken hook" in text
    assert "INTERNALERROR" not in text


@pytest.mark.parametrize("mode", ["--setup-plan", "--setup-only"])
@pytest.mark.parametrize("suite", [[], ["--llmci-suite=inference"]], ids=["own test", "suite"])
def test_setup_plan_measures_and_gates_nothing_and_leaves_nothing(bench: Bench, mode: str, suite: list[str]) -> None:
    bench.write("test_it.py", "def test_it(llm_result): pass\n")
    result = bench.run("--llm-models=echo", "--llm-prompts=prompts.yaml", mode, *suite)
    assert result.ret == 0
    assert "gate[" not in result.stdout.str()
    assert not (bench.path / "llmci-results").exists()


@pytest.mark.parametrize("alone", [True, False], ids=["short way", "all phases"])
def test_marks_of_others_on_a_suites_cell_are_heeded(bench: Bench, alone: bool) -> None:
    bench.write(
        "conftest.py",
        """
import pytest
def pytest_collection_modifyitems(items):
    items[0].add_marker(pytest.mark.skip(reason="slow"))
    items[1].add_marker(pytest.mark.xfail(reason="known"))
""",
    )
    others = ALONE if alone else ()
    # Memory is judged without waiting for a quiet machine.
    result = bench.suite("echo", "--llmci-max-memory=1MiB", "-rs", *others)
    result.assert_outcomes(skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["SKIPPED * slow"])


def cells_with(bench: Bench, body: str, *options: str, listener: str = "") -> pytest.RunResult:
    """Three cells of a model of one's own, in pytest's process and without other plugins, beside what a listener prints."""
    bench.write("prompts.yaml", "- {id: a, prompt: a}\n- {id: b, prompt: b}\n- {id: c, prompt: c}\n")
    bench.write("mine.py", f"import warnings\ndef answer(prompt):\n    {body}\n    return 'a plain answer'\n")
    bench.write("conftest.py", f"def pytest_runtest_logreport(report): pass\n{listener}")
    shown = ("--llmci-isolation=inline", "--llmci-rounds=1", "--llmci-warmup=0", "-s", *ALONE, *options)
    return bench.suite("m=py:mine:answer", *shown, fresh=True)


CALLS = """
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtest_{name}({arguments}):
    print("HEARD", "{name}", {arguments})
    return (yield)
"""


def test_cells_of_a_model_share_a_call_where_nobody_wraps_tests(bench: Bench) -> None:
    watch = """
def pytest_configure(config):
    def called(name, implementations, arguments):
        if name in ("pytest_runtest_protocol", "pytest_runtest_logstart"):
            print("HEARD", name, arguments.get("nodeid"))
    config.pluginmanager.add_hookcall_monitoring(called, lambda *_: None)
"""
    alone = cells_with(bench, "pass", listener=watch)
    alone.assert_outcomes(passed=3)
    assert [line.partition("HEARD pytest_runtest_")[2] for line in alone.outlines if "HEARD" in line] == [
        "protocol None", *(f"logstart inference::m-{name}" for name in "abc")
    ]  # fmt: skip


def test_who_wraps_tests_wraps_each_cell(bench: Bench) -> None:
    result = cells_with(bench, "pass", listener=CALLS.format(name="protocol", arguments="item"))
    result.assert_outcomes(passed=3)
    assert sum("HEARD protocol <CellItem m-" in line for line in result.outlines) == 3


def test_each_cell_is_told_of_its_own_warnings(bench: Bench) -> None:
    heard = "def pytest_warning_recorded(warning_message, nodeid): print('HEARD', nodeid, warning_message.message)\n"
    result = cells_with(bench, "warnings.warn('from the model' if prompt != 'b' else 'another')", listener=heard)
    result.assert_outcomes(passed=3, warnings=3)
    assert [line.partition("HEARD ")[2] for line in result.outlines if "HEARD" in line] == [
        "inference::m-a from the model", "inference::m-b another", "inference::m-c from the model",
    ]  # fmt: skip


def test_warnings_are_errors_where_they_are_asked_to_be(bench: Bench) -> None:
    result = cells_with(bench, "if prompt == 'c': warnings.warn('from the model')", "-W", "error")
    result.assert_outcomes(passed=2, failed=1)


@pytest.mark.parametrize(
    ("option", "outcomes"), [("-x", {"failed": 1, "skipped": 1}), ("--maxfail=2", {"failed": 2, "skipped": 1})]
)
def test_stops_after_the_cell_that_failed_last(bench: Bench, option: str, outcomes: dict[str, int]) -> None:
    result = cells_with(bench, "raise ValueError('no')", option)
    result.assert_outcomes(**outcomes)
    result.stdout.fnmatch_lines([f"*stopping after {outcomes['failed']} failures*"])
    assert len(bench.records("verdict")) == outcomes["failed"]


def test_marks_on_a_later_cell_are_heeded(bench: Bench) -> None:
    listener = "import pytest\ndef pytest_collection_modifyitems(items): items[1].add_marker(pytest.mark.skip(reason='slow'))\n"
    cells_with(bench, "pass", listener=listener).assert_outcomes(passed=2, skipped=1)


@pytest.mark.parametrize(
    "blocked", ["terminal", "skipping", "setuponly", "setupplan", "debugging", "capture", "cacheprovider"]
)
def test_a_session_measures_whichever_of_pytests_own_plugins_is_blocked(bench: Bench, blocked: str) -> None:
    bench.write("test_it.py", "def test_it(llm_result): assert llm_result.rounds\n")
    result = bench.run(
        "--llm-models=echo",
        "--llm-prompts=prompts.yaml",
        "--llmci-rounds=2",
        "-p",
        f"no:{blocked}",
        "test_it.py",
        fresh=True,
    )
    assert result.ret == 0
    assert [each["verdict"] for each in bench.records("verdict")] == ["pass", "pass"]
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("place", ["command line", "conftest.py"])
def test_the_plugin_named_beside_its_entry_point_is_loaded_once(bench: Bench, place: str) -> None:
    named = place == "command line"
    if not named:
        bench.write("conftest.py", "pytest_plugins = ['pytest_llmci.plugin']")
    result = bench.suite("echo", *(["-p", "pytest_llmci.plugin"] if named else []), fresh=True)
    result.assert_outcomes(passed=2)
