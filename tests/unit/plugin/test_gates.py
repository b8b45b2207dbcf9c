from __future__ import annotations

from typing import Any

import pytest
from sample_run import CRASH, rounds, usual_records, verdict, worker

from pytest_llmci.plugin.gates import Seen, judge_coverage
from pytest_llmci.records import GateRecord


def judged(seen: Seen, collected: dict[str, Any] | None = None, **changes: Any) -> GateRecord:
    facts: dict[str, Any] = {"profiles": 0, "store_error": None, "out_of_time": False}
    return judge_coverage(seen, collected or {}, **{**facts, **changes})


def seen(*records: Any) -> Seen:
    found = Seen()
    for record in records:
        found.note(record)
    return found


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
    assert gate == GateRecord(name="coverage", outcome="passed", message="3 inferences of 1 models")


@pytest.mark.parametrize(
    ("collected", "message"),
    [
        ({}, "nothing was measured: no test uses the fixtures llm, llm_result or llm_profile, and no --llmci-suite"),
        ({"cells": 4, "selected": 0}, "nothing was measured: all 4 cells were deselected"),
        ({"cells": 4, "selected": 2}, "nothing was measured: none of the 2 selected cells ran to its end"),
    ],
)
def test_nothing_measured_fails_and_says_why(collected: dict[str, Any], message: str) -> None:
    gate = judged(Seen(), collected)
    assert gate.outcome == "failed" and gate.message.startswith(message)


@pytest.mark.parametrize(
    ("found", "changes"),
    [
        (Seen(), {"profiles": 1}),
        (Seen(), {"out_of_time": True}),
        (seen(worker("w1", "a", error=CRASH)), {}),
    ],
    ids=["profiled", "out of time", "the failed model is a failed test already"],
)
def test_not_nothing(found: Seen, changes: dict[str, Any]) -> None:
    assert judged(found, **changes).outcome == "passed"


@pytest.mark.parametrize(
    ("collected", "message"),
    [
        ({"unused_models": ["b"]}, "no test used the model 'b'"),
        ({"selected_models": ["a", "b"]}, "the tests of the model 'b' ran without asking it anything"),
        ({"unmatched_budgets": ["ttft <= 1s (from ini)"]}, "no cell meets the budget ttft <= 1s (from ini)"),
    ],
)
def test_what_was_asked_for_and_never_happened_fails(collected: dict[str, Any], message: str) -> None:
    gate = judged(seen(rounds()), collected)
    assert (gate.outcome, gate.message) == ("failed", message)


def test_lost_results_fail_whatever_was_measured_and_all_faults_are_told() -> None:
    gate = judged(seen(rounds()), {"unused_models": ["b"]}, store_error="disk full")
    assert (gate.outcome, gate.message) == ("failed", "results were lost: disk full; no test used the model 'b'")
