from __future__ import annotations

import sys
import types
from dataclasses import fields, replace
from typing import Any

import pytest
from sample_run import CRASH, METRICS, rounds

from pytest_llmci import checks as checks_table
from pytest_llmci.checks.base import NO_MODEL, CheckInput, Services
from pytest_llmci.engine.judge import CONTENDED, Judge
from pytest_llmci.engine.schedule import OUT_OF_TIME, CellMeasurement, CellPlan
from pytest_llmci.errors import UnknownNameError
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import (
    Cell,
    CheckResult,
    ErrorInfo,
    GenerationSettings,
    Missing,
    ModelSpec,
    Prompt,
    RoundsRecord,
    VerdictRecord,
)
from pytest_llmci.registry import Registry
from pytest_llmci.stats.budget_expression import Budget, parse_budget, unmeasurable

KNOWN = {metric.name: metric for metric in METRICS}
PROMPT = Prompt(id="tcp", text="What is TCP?")
FAR_OVER = (200, 201, 202, 203, 204)
"""Milliseconds; every look proves that the median is over 100 ms."""


def budget(text: str) -> Budget:
    return parse_budget(text, "--llmci-budget", KNOWN)


def measured(*blocks: RoundsRecord, budgets: tuple[str, ...] = (), **changes: Any) -> CellMeasurement:
    plan_facts: dict[str, Any] = {
        "rounds": 5, "max_rounds": 20, "warmup": 1, "block": 5, "generation": GenerationSettings(), "budgets": tuple(map(budget, budgets)),
    }  # fmt: skip
    plan_facts |= {name: changes.pop(name) for name in ("checks", "family", "max_rounds") if name in changes}
    cell = Cell(id="a-tcp", model=ModelSpec(alias="a", backend="echo"), prompt=PROMPT)
    return CellMeasurement(cell=cell, plan=CellPlan(**plan_facts), blocks=list(blocks), **changes)


def output(text: str) -> CheckInput:
    return CheckInput(text=text, finish_reason="stop", special_only=False, prompt=PROMPT)


@pytest.fixture
def judge() -> Judge:
    registry = Registry()
    checks_table.register(registry)
    registry.add("check", "quarrel", "fake_checks:Quarrel")
    registry.add("check", "compares", "fake_checks:Compares")
    return Judge(registry)


@pytest.fixture(autouse=True)
def fake_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quarrel:
        def __init__(self, argument: str) -> None:
            pass

        def __call__(self, output: CheckInput) -> CheckResult:
            raise RuntimeError("cannot judge")

    class Compares(Quarrel):
        def __call__(self, output: CheckInput) -> CheckResult:
            return CheckResult(name="compares", passed=Missing("no reference") < 1, message="")

    module = types.ModuleType("fake_checks")
    module.__dict__.update(Quarrel=Quarrel, Compares=Compares)
    monkeypatch.setitem(sys.modules, "fake_checks", module)


def verdict(judge: Judge, measurement: CellMeasurement) -> VerdictRecord:
    return judge.verdict(measurement, uid="v1", test="test_it", attempt=1)


# ------------------------------------------------------------------------------------------------------------- checks


def test_a_passed_check_and_the_first_failure_among_several_outputs(judge: Judge) -> None:
    found = judge.checks(["max_words:2", "non_empty"], [output("one two"), output("one two three"), output("1 2 3 4")])
    assert [result.passed for result in found] == [False, True]
    assert "3" in found[0].message and "4" not in found[0].message


def test_a_check_that_raises_has_not_passed(judge: Judge) -> None:
    (found,) = judge.checks(["quarrel"], [output("x")])
    assert found == CheckResult(
        name="quarrel", passed=False, message="the check itself failed: RuntimeError: cannot judge"
    )
    (found,) = judge.checks(["compares"], [output("x")])
    assert (found.passed, found.message) == (False, "no reference")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "the check itself failed: it returned None, expected a pytest_llmci.CheckResult"),
        (True, "the check itself failed: it returned True, expected a pytest_llmci.CheckResult"),
        (SystemExit(3), "the check itself failed: SystemExit: 3"),
    ],
)
def test_a_check_that_gives_no_result_has_not_passed(
    judge: Judge, monkeypatch: pytest.MonkeyPatch, answer: object, message: str
) -> None:
    def check(output: CheckInput) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setitem(judge._checks, "strange", check)
    assert judge.checks(["strange"], [output("x")]) == [CheckResult(name="strange", passed=False, message=message)]


def test_ctrl_c_in_a_check_is_not_the_checks_failure(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(output: CheckInput) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(judge._checks, "slow", check)
    with pytest.raises(KeyboardInterrupt):
        judge.checks(["slow"], [output("x")])


def test_without_an_output_no_check_passes(judge: Judge) -> None:
    (found,) = judge.checks(["valid"], [])
    assert (found.passed, found.message) == (False, "there is no output to check")


def test_checks_are_built_once(judge: Judge) -> None:
    assert judge.check("max_words:2") is judge.check("max_words:2") is not judge.check("max_words:3")
    with pytest.raises(UnknownNameError, match="jsn"):
        judge.check("jsn")


# ------------------------------------------------------------------------------------------------------------ verdicts


def test_all_is_well(judge: Judge) -> None:
    found = verdict(judge, measured(rounds(noisy=["steal", "", ""]), budgets=("latency <= 10s", "peak_rss <= 1GiB")))
    assert (found.verdict, found.rounds, found.noisy_rounds, found.attempt) == ("pass", 3, 1, 1)
    assert (found.uid, found.test, found.cell, found.model, found.prompt_id) == ("v1", "test_it", "a-tcp", "a", "tcp")
    assert [(check.name, check.passed) for check in found.checks] == [("valid", True)]
    assert [result.verdict for result in found.budgets] == ["pass", "pass"]


def test_a_missed_budget_fails_and_keeps_its_sample(judge: Judge) -> None:
    found = verdict(judge, measured(rounds(latencies_ms=FAR_OVER), budgets=("latency <= 100ms", "output_tokens <= 50")))
    assert found.verdict == "failed"
    missed, met = found.budgets
    assert (missed.verdict, missed.observed, missed.limit, missed.rounds) == ("failed", 0.202, 0.1, 5)
    assert missed.values == [value / 1e3 for value in FAR_OVER]
    assert missed.p_value is not None and missed.p_value < 0.01
    assert (missed.metric, missed.statistic, missed.operator, missed.origin) == (
        "latency",
        "median",
        "<=",
        "--llmci-budget",
    )
    assert met.verdict == "pass"


def test_a_failed_check_fails_the_cell(judge: Judge) -> None:
    assert verdict(judge, measured(rounds(outputs=[""]))).verdict == "failed"


def test_a_failed_model_is_judged_on_nothing_else(judge: Judge) -> None:
    found = verdict(judge, measured(rounds(error=CRASH), budgets=("latency <= 10s",), error=CRASH))
    assert (found.verdict, found.checks, found.budgets, found.error) == ("failed", [], [], CRASH)


def test_a_missing_number_is_never_a_pass(judge: Judge) -> None:
    block = rounds(values={}, reasons={"latency": "no clock"})
    (result,) = verdict(judge, measured(block, budgets=("latency <= 10s",))).budgets
    assert (result.verdict, result.observed, result.reason) == ("failed", None, "latency is missing: no clock")
    assert (result.rounds, result.values) == (0, [])


def test_out_of_time_before_the_first_round_is_inconclusive(judge: Judge) -> None:
    found = verdict(judge, measured(budgets=("latency <= 10s",), out_of_time=True))
    assert (found.verdict, found.checks) == ("inconclusive", [])
    assert (found.budgets[0].verdict, found.budgets[0].reason) == ("inconclusive", OUT_OF_TIME)
    assert verdict(judge, measured(out_of_time=True)).verdict == "inconclusive"


def test_out_of_time_later_is_said_only_where_it_left_something_open(judge: Judge) -> None:
    open_ones = measured(rounds(latencies_ms=(90, 101, 130, 95, 140)), budgets=("latency <= 100ms",), out_of_time=True)
    (result,) = verdict(judge, open_ones).budgets
    assert result.verdict == "inconclusive" and result.reason.startswith(OUT_OF_TIME + "; median of 5 rounds")
    decided = measured(rounds(latencies_ms=FAR_OVER), budgets=("latency <= 100ms",), out_of_time=True)
    assert OUT_OF_TIME not in verdict(judge, decided).budgets[0].reason


def test_overlapping_work_decides_nothing_on_time_and_all_on_memory(judge: Judge) -> None:
    block = rounds(latencies_ms=FAR_OVER, contended=True)
    found = verdict(judge, measured(block, budgets=("latency <= 100ms", "latency <= 10s", "output_tokens <= 49")))
    assert [result.verdict for result in found.budgets] == ["inconclusive", "inconclusive", "failed"]
    assert found.budgets[0].reason == CONTENDED
    assert not judge.undecided(measured(block, budgets=("latency <= 100ms",)))


@pytest.mark.parametrize(
    ("latencies", "limit", "undecided"),
    [(FAR_OVER, "100ms", False), (FAR_OVER, "10s", False), ((90, 101, 130, 95, 140), "100ms", True)],
)
def test_an_open_budget_asks_for_more_rounds(
    judge: Judge, latencies: tuple[int, ...], limit: str, undecided: bool
) -> None:
    assert judge.undecided(measured(rounds(latencies_ms=latencies), budgets=(f"latency <= {limit}",))) is undecided


def test_at_the_last_look_nothing_is_asked_for(judge: Judge) -> None:
    open_ones = rounds(latencies_ms=(90, 101, 130, 95, 140))
    assert judge.undecided(measured(open_ones, budgets=("latency <= 100ms",), look=3))
    assert not judge.undecided(measured(open_ones, budgets=("latency <= 100ms",), look=4))
    assert not judge.undecided(measured(open_ones, budgets=("latency <= 100ms",), max_rounds=5))


def test_a_large_session_demands_stronger_proof(judge: Judge) -> None:
    """False alarms are shared by all budgets of a session."""
    block = rounds(latencies_ms=(104, 103, 106, 105, 107))
    alone = verdict(judge, measured(block, budgets=("latency <= 100ms",), max_rounds=5))
    among_many = verdict(judge, measured(block, budgets=("latency <= 100ms",), max_rounds=5, family=10_000))
    assert (alone.verdict, among_many.verdict) == ("failed", "inconclusive")


def test_what_can_never_be_measured_is_found_with_its_reason() -> None:
    footprint, latency = budget("model_footprint <= 1GiB"), budget("latency <= 1s")
    assert unmeasurable([footprint, latency], {"model_footprint": "no weights"}) == [(footprint, "no weights")]


def test_the_error_is_kept_as_it_was(judge: Judge) -> None:
    error = ErrorInfo(kind="timeout", message="late", facts={"limit": "1 s"})
    assert verdict(judge, measured(error=error)).error is error


# ------------------------------------------------------------------------------------ rounds that waited for a CPU


def waiting(latencies_ms: tuple[float, ...], waits_ms: tuple[float, ...]) -> RoundsRecord:
    values = {"latency": [each * 1e6 for each in latencies_ms], "run_delay": [each * 1e6 for each in waits_ms]}
    return rounds(latencies_ms=latencies_ms, values=values)


def of_time(block: RoundsRecord, text: str) -> CellMeasurement:
    known = {metric.name: metric for metric in builtin_metrics()}
    measurement = measured(block)
    measurement.plan = replace(measurement.plan, budgets=(parse_budget(text, "x", known),))
    return measurement


def test_rounds_that_waited_too_long_are_left_out_of_a_budget_on_time(judge: Judge) -> None:
    block = waiting((90, 400, 92, 500, 91), (0, 300, 18, 300, 0))
    (result,) = verdict(judge, of_time(block, "latency <= 100ms")).budgets
    assert result.values == [0.09, 0.092, 0.091]
    assert result.reason.endswith("2 of 5 rounds waited for a CPU too long and were left out")
    assert result.verdict == "pass"
    block = waiting((90, 400, 92, 93, 91), (0, 300, 18, 0, 0))
    (result,) = verdict(judge, of_time(block, "latency <= 100ms")).budgets
    assert result.reason.endswith("1 of 5 rounds waited for a CPU too long and was left out")


def test_where_all_rounds_waited_a_missed_limit_is_not_the_models_fault(judge: Judge) -> None:
    block = waiting((400, 401, 402, 403, 404), (300, 300, 300, 300, 300))
    (result,) = verdict(judge, of_time(block, "latency <= 100ms")).budgets
    assert (result.verdict, len(result.values)) == ("inconclusive", 5)
    assert result.reason.startswith(
        "the machine was too busy: 5 of 5 rounds waited for a CPU for over 20 % of their time;"
    )
    met = verdict(judge, of_time(block, "latency <= 10s")).budgets
    assert met[0].verdict == "pass", "a limit that even these meet is met"


def counted(
    latencies_ms: tuple[float, ...], waits_ms: tuple[float, ...], **columns: list[float | None]
) -> RoundsRecord:
    """As one thread on Linux measures it; further columns as stored."""
    delay, n = [each * 1e6 for each in waits_ms], len(waits_ms)
    latency = [each * 1e6 for each in latencies_ms]
    net = [whole - waited for whole, waited in zip(latency, delay, strict=True)]
    values = {"latency": latency, "run_delay": delay, "net_time": net, "steal": [0.0] * n, "major_faults": [0.0] * n}
    return rounds(latencies_ms=latencies_ms, values={**values, **columns})


def test_what_is_far_off_without_all_waiting_fails_on_a_busy_machine_too(judge: Judge) -> None:
    block = counted((1470, 1471, 1472, 1473, 1474), (400, 400, 400, 400, 400))
    (result,) = verdict(judge, of_time(block, "latency <= 500ms")).budgets
    assert (result.verdict, result.observed, len(result.values)) == ("failed", 1.472, 5)
    assert result.reason == (
        "5 of 5 rounds waited for a CPU for over 20 % of their time; without all waiting, median of 5 rounds: 1.07 s is over 1 s"
        " (under 0.0001 % by chance), 2 times the limit"
    )


def test_a_round_or_two_that_are_left_are_too_few(judge: Judge) -> None:
    block = counted((140, 141, 142), (0, 0, 40))
    (result,) = verdict(judge, of_time(block, "latency <= 100ms")).budgets
    assert result.verdict == "inconclusive"
    assert (
        "too busy: 1 of 3 rounds waited for a CPU for over 20 % of its time, which leaves too few others; "
        in result.reason
    )


def test_what_busy_neighbours_may_explain_stays_undecided_and_says_what_is_left(judge: Judge) -> None:
    block = counted((1470, 1471, 1472, 1473, 1474), (600, 600, 600, 600, 600))
    (result,) = verdict(judge, of_time(block, "latency <= 500ms")).budgets
    assert result.verdict == "inconclusive"
    assert result.reason.startswith(
        "the machine was too busy: 5 of 5 rounds waited for a CPU for over 20 % of their time; "
    )
    assert result.reason.endswith("; without all waiting: 872 ms")


def test_maxima_and_memory_are_judged_on_every_round(judge: Judge) -> None:
    block = waiting((90, 400, 92, 91), (0, 300, 0, 0))
    (result,) = verdict(judge, of_time(block, "latency.max <= 100ms")).budgets
    assert (result.verdict, len(result.values)) == ("failed", 4)


def test_an_output_gets_services_and_keeps_all_else() -> None:
    given: dict[str, Any] = {each.name: object() for each in fields(CheckInput)}
    output = CheckInput(**given).with_services(NO_MODEL)
    assert {name: getattr(output, name) for name in given} == {**given, "services": NO_MODEL}


def test_services_are_made_for_checks_that_may_ask_models_alone(judge: Judge) -> None:
    made: list[str] = []

    def services(output: CheckInput) -> Services:
        made.append(output.text)
        return NO_MODEL

    asking = Judge(judge._registry, services=services)
    asked = [output("yes"), output("no")]
    assert [each.passed for each in asking.checks(["valid"], asked)] == [True]
    assert made == []
    names = ["valid", "contains:e", "max_words:3"]
    assert [each.passed for each in asking.checks(names, asked)] == [True, False, True]
    assert made == ["yes", "no"]  # once for all that may ask
