"""Unarmed, tests that need a model skip and everything else is untouched; armed, missing data is a failure."""

from __future__ import annotations

import pytest
from bench import Bench, unwrapped

OURS = "def test_ours(llm): pass\ndef test_mine(): pass\n"


def test_unarmed_tests_skip_and_name_the_flag(bench: Bench) -> None:
    bench.write("test_it.py", OURS)
    result = bench.run("-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*--llm-models=SPEC*"])
    result.stdout.no_fnmatch_line("*llmci:*")
    assert not (bench.path / "llmci-results").exists()


def test_unarmed_a_flag_that_was_typed_is_a_usage_error(bench: Bench) -> None:
    bench.write("test_it.py", OURS)
    result = bench.run("--llmci-max-latency=1s")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --llmci-max-latency: no model is asked anything without --llm-models=SPEC (or --llmci,*"]
    )
    bench.write("pytest.ini", "[pytest]\naddopts = --llmci-output=there\n")
    bench.run().assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("fixture", ["llm", "llm_prompt", "llm_result", "llm_profile", "llm_open", "llmci_session"])
def test_every_fixture_skips_unarmed(bench: Bench, fixture: str) -> None:
    bench.write("test_it.py", f"def test_ours({fixture}): pass")
    bench.run().assert_outcomes(skipped=1)


def test_settings_alone_do_not_arm(bench: Bench) -> None:
    bench.write("pytest.ini", "[pytest]\nllmci_models = echo\nllmci_suite = inference\n")
    bench.write("test_it.py", OURS)
    bench.run().assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("armed", ["flag", "variable"])
def test_arms_by_flag_or_variable(bench: Bench, monkeypatch: pytest.MonkeyPatch, armed: str) -> None:
    bench.write("pytest.ini", "[pytest]\nllmci_models = echo\n")
    bench.write("test_it.py", "def test_ours(llm): llm.generate('hi')")
    if armed == "variable":
        monkeypatch.setenv("LLMCI", "1")
    bench.run(*(["--llmci"] if armed == "flag" else [])).assert_outcomes(passed=1)


def test_marker_is_added_by_itself(bench: Bench) -> None:
    bench.write("test_it.py", OURS)
    bench.run("-m", "llmci").assert_outcomes(skipped=1, deselected=1)
    bench.run("-m", "not llmci").assert_outcomes(passed=1, deselected=1)


def test_armed_with_nothing_measured_fails(bench: Bench) -> None:
    bench.write("test_it.py", "def test_mine(): pass")
    result = bench.run("--llm-models=echo")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED llmci::gate[[]coverage[]] - nothing was measured*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_model_that_no_test_used_fails(bench: Bench) -> None:
    bench.write(
        "test_it.py", "import pytest\n@pytest.mark.llmci(models='b=echo')\ndef test_ours(llm): llm.generate('hi')"
    )
    result = bench.run("--llm-models=echo")
    result.stdout.fnmatch_lines(["*gate[[]coverage[]]*no test used the model 'echo'*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_budget_that_matches_no_cell_fails(bench: Bench) -> None:
    result = bench.suite("echo", "--llmci-max-latency=other*:2s")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*gate[[]coverage[]]*no cell matches the budget*other*:*"])


PARALLEL = pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "parallel"])
MARKED = "import pytest\n@pytest.mark.llmci(rounds=1, prompts='prompts.yaml', budgets={budgets})\ndef test_cell(llm_result): pass\n"


@PARALLEL
def test_a_budget_of_a_marker_that_matches_no_cell_fails(bench: Bench, parallel: tuple[str, ...]) -> None:
    if parallel:
        pytest.importorskip("xdist")
    bench.write("test_it.py", MARKED.format(budgets=["nosuch*: latency <= 1ns", "b: latency <= 9s"]))
    result = bench.run("--llm-models=a=echo,b=echo", *parallel)
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(
        [
            "Gate coverage failed:",
            "  no cell matches the budget nosuch[*]: latency <= 1ns (from the marker of",
            "    test_it.py::test_cell)",
            "=*",
        ],
        consecutive=True,
    )


def test_a_budget_of_a_module_needs_one_cell_among_its_tests(bench: Bench) -> None:
    text = (
        "import pytest\npytestmark = pytest.mark.llmci(rounds=1, prompts='prompts.yaml', budgets='latency <= 9s')\n"
        "def test_plain(): pass\ndef test_call(llm): llm.generate('hi')\n"
    )
    bench.write("test_it.py", text + "def test_cell(llm_result): pass\n")
    bench.run("--llm-models=echo").assert_outcomes(passed=4)
    bench.write("test_it.py", text)
    result = bench.run("--llm-models=echo")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["  no cell matches the budget latency <= 9s (from the marker of test_it.py)"])


def test_a_budget_on_time_needs_one_cell_that_is_timed(bench: Bench) -> None:
    untimed = (
        "import pytest\n@pytest.mark.llmci(timed=False, prompts='prompts.yaml')\ndef test_cell(llm_result): pass\n"
    )
    bench.write("test_it.py", untimed)
    result = bench.run("--llm-models=echo", "--llmci-max-latency=9s")
    result.stdout.fnmatch_lines(["  no cell matches the budget latency.median <= 9s (from --llmci-max-latency)"])
    bench.write("test_other.py", MARKED.format(budgets=["peak_rss <= 2GiB"]))
    bench.run("--llm-models=echo", "--llmci-max-latency=9s").assert_outcomes(passed=4)


@PARALLEL
def test_deselecting_everything_is_no_pass(bench: Bench, parallel: tuple[str, ...]) -> None:
    if parallel:
        pytest.importorskip("xdist")
    bench.write("test_it.py", "def test_mine(): pass\ndef test_ours(llm): llm.generate('hi')\n")
    result = bench.suite("echo", "-k", "no_such_cell", *parallel)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "nothing was measured: -k no_such_cell deselected all 2 cells (without it, " in unwrapped(result)
    result = bench.run("--llm-models=echo", "-k", "mine", "-m", "not llmci", *parallel)
    result.assert_outcomes(passed=1, failed=1, deselected=0 if parallel else 1)
    told = "nothing was measured: -k mine and -m 'not llmci' deselected the only test of a model "
    assert told in unwrapped(result)


@PARALLEL
def test_no_answer_is_no_pass_even_where_failures_are_expected(bench: Bench, parallel: tuple[str, ...]) -> None:
    if parallel:
        pytest.importorskip("xdist")
    bench.write("test_it.py", "import pytest\n@pytest.mark.xfail\ndef test_ours(llm): llm.generate('hi')\n")
    result = bench.run("--llm-models=echo+load_fail=gone", *parallel)
    result.assert_outcomes(xfailed=1, failed=1)
    assert "nothing was measured: no answer of the model 'echo' (a test that is expected " in unwrapped(result)


def test_a_failed_test_says_itself_that_nothing_was_measured(bench: Bench) -> None:
    bench.write("test_it.py", "def test_ours(llm): llm.generate('hi')\n")
    bench.run("--llm-models=echo+load_fail=gone").assert_outcomes(failed=1)


@pytest.mark.parametrize("policy", ["warn", "pass"])
def test_out_of_time_before_the_first_cell_is_no_pass(bench: Bench, policy: str) -> None:
    result = bench.suite("echo", "--llmci-time-limit=1ns", f"--llmci-inconclusive={policy}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = "nothing was measured: the time was over (--llmci-time-limit) before the first of 2 cells had a round "
    assert told in unwrapped(result)
    result.stdout.fnmatch_lines(["No cell was measured: out of time (--llmci-time-limit)."])


USES = {
    "profile": "def test_it(llm_profile): assert llm_profile(sum, [1, 2]).value == 3\n",
    "block": "def test_it(llm):\n    with llm.profile(): pass\n",
    "call": "def test_it(llm): assert llm.call('mine:three') == 3\n",
    "stream": "def test_it(llm): assert ''.join(llm.stream('hi'))\n",
    "info": "def test_it(llm): assert llm.info['source'] == 'script'\n",
}


@PARALLEL
@pytest.mark.parametrize("use", USES)
def test_whatever_was_asked_for_counts(bench: Bench, use: str, parallel: tuple[str, ...]) -> None:
    if parallel:
        pytest.importorskip("xdist")
    bench.write("mine.py", "def three(backend): return 3\n")
    bench.write("test_it.py", USES[use])
    bench.run("--llmci" if use == "profile" else "--llm-models=echo", *parallel).assert_outcomes(passed=1)
    (gate,) = bench.records("gate")
    assert gate["message"] == ("1 profile" if use in ("profile", "block") else "1 other request")


@PARALLEL
def test_a_hook_that_removes_every_cell_is_named_in_one_line(bench: Bench, parallel: tuple[str, ...]) -> None:
    if parallel:
        pytest.importorskip("xdist")
    bench.write("conftest.py", "def pytest_llmci_modify_cells(cells): cells.clear()\n")
    result = bench.suite("a=echo,b=echo", "--llmci-max-latency=2s", *parallel, fresh=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "Gate coverage failed:",
            "  nothing was measured: pytest_llmci_modify_cells removed all 4 cells of the",
            "    suite (let it leave some, or take --llmci-suite away)",
            "=*",
        ],
        consecutive=True,
    )


def test_a_hook_that_removes_a_models_cells_is_named(bench: Bench) -> None:
    bench.write(
        "conftest.py", "def pytest_llmci_modify_cells(cells): cells[:] = [c for c in cells if c.model.alias == 'a']\n"
    )
    result = bench.suite("a=echo,b=echo")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["  no test used the model 'b': pytest_llmci_modify_cells removed its 2 cells"])


def test_stopped_early_the_gate_is_skipped(bench: Bench) -> None:
    result = bench.suite("echo+fail=no", "-x")
    result.assert_outcomes(failed=1, skipped=1)


@pytest.mark.parametrize("config", ["strict", "strict9"])
def test_strict_settings_accept_our_names(bench: Bench, config: str) -> None:
    if config == "strict9":
        bench.write("pyproject.toml", '[tool.pytest]\nstrict = true\nllmci_models = ["echo"]\nllmci_rounds = 1\n')
    else:
        bench.write(
            "pytest.ini",
            "[pytest]\naddopts = --strict-markers --strict-config\nllmci_models = echo\nllmci_rounds = 1\n",
        )
    bench.write(
        "test_it.py",
        "import pytest\n@pytest.mark.llmci(rounds=1, prompts='prompts.yaml')\ndef test_ours(llm_result): pass",
    )
    bench.run("--llmci").assert_outcomes(passed=2)


def test_help_lists_fixtures_and_marker(bench: Bench) -> None:
    fixtures = bench.run("--fixtures").stdout.str()
    for name in ("llm ", "llm_prompt", "llm_result", "llm_profile", "llm_open", "llmci_session"):
        assert name in fixtures
    bench.run("--markers").stdout.fnmatch_lines(["@pytest.mark.llmci(models=*"])


@pytest.mark.parametrize("argument", ["inference::echo-first", "inference"])
def test_an_id_of_a_suite_without_a_model_names_the_flag(bench: Bench, argument: str) -> None:
    result = bench.run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {argument}: a suite needs a model: add --llm-models=SPEC (or --llmci, *"])


def test_a_file_called_like_a_suite_is_a_file(bench: Bench) -> None:
    bench.write("inference/test_it.py", "def test_plain(): pass")
    bench.run("inference").assert_outcomes(passed=1)


def test_a_package_called_like_a_suite_is_a_package(bench: Bench) -> None:
    bench.write("src/inference/__init__.py", "")
    bench.write("src/inference/test_it.py", "def test_plain(): pass")
    bench.run("--pyargs", "inference", "-o", "pythonpath=src").assert_outcomes(passed=1)


def test_an_argument_that_no_file_can_be_called_is_left_to_pytest(bench: Bench) -> None:
    result = bench.run("x" * 300)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: file or directory not found: xxx*"])
