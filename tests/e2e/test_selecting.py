"""What the user leaves out by selecting is no fault; without a selection the gate stays strict."""

from __future__ import annotations

import json

import pytest
from bench import Bench

TESTS = """
import os, pytest
@pytest.mark.llmci(rounds=1, warmup=0, prompts="prompts.yaml")
def test_cell(llm_result, llm): assert llm.name != os.environ.get("BROKEN")
"""
GIVEN = ("--llm-models=a=echo,b=echo,c=echo", "--llmci-max-latency=c:9s")
PARALLEL = pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "parallel"])


def session(bench: Bench, *args: str) -> pytest.RunResult:
    """With pytest's cache, which other tests do without."""
    return bench.run_here("-p", "no:randomly", *GIVEN, *args)


def last_failed(bench: Bench) -> set[str]:
    path = bench.path / ".pytest_cache" / "v" / "cache" / "lastfailed"
    return set(json.loads(path.read_text("utf-8"))) if path.exists() else set()


@pytest.fixture
def three(bench: Bench) -> Bench:
    """A user's tests of three models, two of which no selection below asks for."""
    bench.write("test_it.py", TESTS)
    bench.write("test_other.py", "def test_foreign(): pass\n")
    return bench


@PARALLEL
def test_a_node_id_leaves_out_models_and_budgets(three: Bench, parallel: tuple[str, ...]) -> None:
    if parallel:
        pytest.importorskip("xdist")
    session(three, "test_it.py::test_cell[a-first]", *parallel).assert_outcomes(passed=1)
    (gate,) = three.records("gate")
    assert gate["message"] == "1 inference of 1 model (node ids left tests out: of these alone)"


@pytest.mark.parametrize(
    ("flags", "suite_cells"),
    [((), 0), (("test_other.py",), 30), (("--llmci-suite=inference",), 30)],
    ids=["alone", "file", "flag"],
)
@PARALLEL
def test_a_node_id_leaves_out_the_suites_of_the_settings(
    three: Bench, parallel: tuple[str, ...], flags: tuple[str, ...], suite_cells: int
) -> None:
    if parallel:
        pytest.importorskip("xdist")
    three.write("pytest.ini", "[pytest]\nllmci_suite = inference\n")
    session(three, "test_it.py::test_cell[a-first]", *flags, *parallel)
    cells = [verdict["test"] for verdict in three.records("verdict")]
    assert cells.count("test_it.py::test_cell[a-first]") == 1 and len(cells) == 1 + suite_cells


@PARALLEL
def test_last_failed_leaves_out_models_and_budgets(
    three: Bench, monkeypatch: pytest.MonkeyPatch, parallel: tuple[str, ...]
) -> None:
    if parallel:
        pytest.importorskip("xdist")
    monkeypatch.setenv("BROKEN", "a")
    session(three).assert_outcomes(failed=2, passed=5)
    monkeypatch.delenv("BROKEN")
    session(three, "--lf", *parallel).assert_outcomes(passed=2)
    (gate,) = three.records("gate")
    assert gate["message"] == "2 inferences of 1 model (--lf left tests out: of these alone)"
    assert last_failed(three) == set()


@pytest.mark.parametrize("more", [(), (".",), ("test_it.py",), ("--lf",), ("-k", "a-"), ("-m", "llmci")], ids=" ".join)
def test_without_such_a_selection_nothing_may_be_missing(three: Bench, more: tuple[str, ...]) -> None:
    result = session(three, "--llmci-max-latency=d:9s", *more)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["  no cell matches the budget d: latency.median <= 9s (from --llmci-max-latency)"])


def test_a_gate_is_a_known_failure_until_all_was_judged_again(three: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = "llmci::gate[coverage]"
    monkeypatch.setenv("BROKEN", "a")
    session(three, "--llmci-max-latency=d:9s").assert_outcomes(failed=3, passed=5)
    assert gate in last_failed(three)
    monkeypatch.delenv("BROKEN")
    session(three, "--lf", "--llmci-max-latency=d:9s").assert_outcomes(passed=2)
    assert last_failed(three) == {gate}
    result = session(three, "--lf", "--lfnf=none")
    result.assert_outcomes(passed=7)
    assert "::gate" not in result.stdout.str()
    assert last_failed(three) == set()


def test_a_selection_of_nothing_is_no_pass_and_nothing_to_repeat(three: Bench) -> None:
    session(three, "--lf", "--lfnf=none").assert_outcomes(failed=1, deselected=7)
    assert last_failed(three) == set()
