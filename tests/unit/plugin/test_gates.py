from __future__ import annotations

from typing import Any

import pytest
from sample_run import CRASH, rounds, usual_records, verdict, worker

from pytest_llmci.engine.seen import Seen
from pytest_llmci.plugin.gates import _place, _report, judge_coverage
from pytest_llmci.records import GateRecord


def judged(seen: Seen, collected: dict[str, Any] | None = None, **changes: Any) -> GateRecord:
    return judge_coverage(seen, collected or {}, **{"store_error": None, **changes})


def seen(*records: Any, **counts: int) -> Seen:
    found = Seen()
    for name, count in counts.items():
        setattr(found, name, count)
    for record in records:
        found.note(record)
    return found


def test_answers_of_a_memory_pass_are_no_further_inferences() -> None:
    measured, memory = rounds("r1"), rounds("r2", origin="memory")
    assert seen(measured, memory).inferences == seen(measured).inferences == measured.n
    assert seen(memory).models == {"a"}


def test_what_the_records_tell() -> None:
    found = seen(*usual_records())
    assert (found.inferences, found.inconclusive) == (7, 1)
    assert found.models == found.tried == {"a", "b"}


def test_a_failed_start_was_tried_and_measured_nothing() -> None:
    found = seen(
        worker("w1", "a", error=CRASH), rounds("r1", "a", latencies_ms=()), verdict("v1", "c", verdict="failed")
    )
    assert (found.tried, found.models, found.inferences) == ({"a", "c"}, set(), 0)


def test_all_is_well() -> None:
    gate = judged(seen(rounds()), {"cells": 1, "selected": 1, "selected_models": ["a"]})
    assert gate == GateRecord(
        name="coverage", outcome="passed", message="3 inferences of 1 model", counts={"inferences": 3}
    )


@pytest.mark.parametrize(
    ("collected", "message"),
    [
        ({}, "nothing was measured: no test uses the fixtures llm, llm_result or llm_profile, and no --llmci-suite"),
        ({"cells": 4, "selected": 0}, "nothing was measured: all 4 cells were deselected (-k, -m, --lf, --deselect)"),
        (
            {"cells": 4, "selected": 0, "left_out_by": ["node ids"]},
            "nothing was measured: all 4 cells were left out by node ids",
        ),
        ({"cells": 1, "selected": 0}, "nothing was measured: the only cell was deselected"),
        ({"tests": 1}, "nothing was measured: the only test of ours asked no model anything"),
        ({"tests": 3}, "nothing was measured: none of 3 tests of ours asked a model anything"),
        ({"cells": 4, "selected": 2}, "nothing was measured: none of the 2 selected cells ran to its end"),
        ({"cells": 4, "selected": 1}, "nothing was measured: the selected cell did not run to its end"),
        (
            {"cells": 4, "all_deselected": 4, "deselected_by": ["-k 'a or b'"]},
            "nothing was measured: -k 'a or b' deselected all 4 cells (without it, --collect-only -q lists what there is)",
        ),
        (
            {"cells": 4, "all_deselected": 6, "deselected_by": ["-k a", "--lf"]},
            "nothing was measured: -k a and --lf deselected all 6 tests of a model (without them, --collect-only -q lists",
        ),
        ({"all_deselected": 1}, "nothing was measured: a plugin or conftest.py deselected the only test of a model"),
    ],
)
def test_nothing_measured_fails_and_says_why(collected: dict[str, Any], message: str) -> None:
    gate = judged(Seen(), collected)
    assert gate.outcome == "failed" and gate.message.startswith(message)


def test_an_emptied_suite_is_one_fault_from_which_the_others_follow() -> None:
    gone = {"removed": {"a": 3, "b": 1}, "unused_models": ["a", "b"], "unmatched_budgets": ["ttft <= 1s (from ini)"]}
    assert judged(Seen(), gone).message == (
        "nothing was measured: pytest_llmci_modify_cells removed all 4 cells of the suite"
        " (let it leave some, or take --llmci-suite away)"
    )
    gate = judged(Seen(), gone, store_error="disk full")
    assert gate.message.startswith("results were lost: disk full; nothing was measured: pytest_llmci_modify_cells")
    assert "no cell matches the budget" in judged(Seen(), {**gone, "all_deselected": 2}).message


def test_a_model_whose_cells_the_hook_removed_says_so() -> None:
    gate = judged(seen(rounds()), {"cells": 3, "removed": {"b": 1, "c": 2}, "unused_models": ["b", "d"]})
    assert (gate.outcome, gate.message) == (
        "failed",
        "no test used the model 'b': pytest_llmci_modify_cells removed its 1 cell; no test used the model 'd'",
    )


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (seen(profiles=1), "1 profile"),
        (seen(worker("w1", "a"), requests=2), "2 other requests"),
        (seen(rounds(), profiles=2, requests=1), "3 inferences of 1 model, 2 profiles, 1 other request"),
        (seen(worker("w1", "a", error=CRASH), failed_tests=1), "nothing was measured, as 1 failed test tells"),
    ],
    ids=["profiled", "called", "everything", "the failed model is a failed test already"],
)
def test_not_nothing(found: Seen, message: str) -> None:
    assert judged(found) == GateRecord(name="coverage", outcome="passed", message=message, counts=found.counts)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (seen(worker("w1", "a", error=CRASH)), "no answer of the model 'a' (a test that is expected to fail, xfail, "),
        (seen(worker("w1", "a", error=CRASH), worker("w2", "b", error=CRASH)), "no answer of any of 2 models (a test"),
        (seen(worker("w1", "a")), "no answer of the model 'a'"),
        (
            seen(verdict("v1", "a", verdict="inconclusive"), verdict("v2", "a", verdict="inconclusive")),
            "the time was over (--llmci-time-limit) before the first of 2 cells had a round (allow more)",
        ),
    ],
    ids=["expected failure", "expected failures", "loaded and not asked", "out of time"],
)
def test_without_a_failed_test_no_answer_is_nothing(found: Seen, why: str) -> None:
    gate = judged(found, {"cells": 2, "selected": 2, "tests": 2})
    assert gate.outcome == "failed" and gate.message.startswith(f"nothing was measured: {why}")


@pytest.mark.parametrize(
    ("collected", "message"),
    [
        ({"unused_models": ["b"]}, "no test used the model 'b'"),
        ({"selected_models": ["a", "b"]}, "the tests of the model 'b' ran without asking it anything"),
        ({"unmatched_budgets": ["ttft <= 1s (from ini)"]}, "no cell matches the budget ttft <= 1s (from ini)"),
    ],
)
def test_what_was_asked_for_and_never_happened_fails(collected: dict[str, Any], message: str) -> None:
    gate = judged(seen(rounds()), collected)
    assert (gate.outcome, gate.message) == ("failed", message)


def test_what_was_never_collected_lacks_nothing() -> None:
    part = {
        "left_out_by": ["node ids", "--lf"],
        "unused_models": ["b"],
        "unmatched_budgets": ["b: ttft <= 1s (from ini)"],
    }
    gate = judged(seen(rounds()), part)
    assert (gate.outcome, gate.message) == (
        "passed",
        "3 inferences of 1 model (node ids and --lf left tests out: of these alone)",
    )
    assert judged(Seen(), part).message.startswith("nothing was measured")
    gate = judged(seen(rounds()), {**part, "removed": {"b": 1}})
    assert gate.message == "no test used the model 'b': pytest_llmci_modify_cells removed its 1 cell"


def test_lost_results_fail_whatever_was_measured_and_all_faults_are_told() -> None:
    gate = judged(seen(rounds()), {"unused_models": ["b"]}, store_error="disk full")
    assert (gate.outcome, gate.message) == ("failed", "results were lost: disk full; no test used the model 'b'")


@pytest.mark.parametrize(("never_run", "said"), [(1, "1 test never ran"), (7, "7 tests never ran")])
def test_tests_that_no_worker_ran_fail_it(never_run: int, said: str) -> None:
    gate = judged(seen(rounds()), {"cells": 8, "selected": 8, "selected_models": ["a"]}, never_run=never_run)
    assert gate.outcome == "failed" and gate.message.startswith(said)


def test_a_fault_with_a_semicolon_is_one() -> None:
    lost = "disk full; 3 lines are gone"
    gate = judged(Seen(), {"unused_models": ["b"]}, store_error=lost, never_run=1)
    assert gate.reasons[1] == f"results were lost: {lost}" and gate.message == "; ".join(gate.reasons)
    shown = str(_report(*_place(gate), "call", gate, room=80).longrepr).splitlines()
    assert [line.strip() for line in shown if lost in line] == [f"results were lost: {lost}"]
    older = GateRecord(name="coverage", outcome="failed", message="a; b")
    assert "  a; b" in str(_report(*_place(older), "call", older, room=80).longrepr).splitlines()
