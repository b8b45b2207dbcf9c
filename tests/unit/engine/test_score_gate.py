"""Budgets that no single test decides."""

from __future__ import annotations

from sample_run import questions, task_facts

from pytest_llmci.engine.answers import Answers, TaskSummary, benchmark_scores
from pytest_llmci.engine.score_gate import score_gates
from pytest_llmci.measure.score import SCORE
from pytest_llmci.records import ErrorInfo
from pytest_llmci.stats.budget_expression import parse_budget


def summary(
    suite: str, right: tuple[bool, ...], *, subject: str = "", whole: bool = True, failed: bool = False
) -> TaskSummary:
    name = f"{suite}_{subject}" if subject else suite
    facts = task_facts(
        suite=suite, name=name, subject=subject, questions=len(right), whole=whole, label=f"{len(right)} questions"
    )
    answers = Answers()
    answers.take(questions(right=right, task=facts))
    error = ErrorInfo(kind="crashed", message="gone") if failed else None
    return TaskSummary(
        cell=f"a-{name}", model="a", test=f"{suite}::a", name=name, verdict="pass", error=error, budgets=(), comparisons=(), answers=answers
    )  # fmt: skip


def gate(text: str, *tasks: TaskSummary) -> tuple[str, str]:
    budget = parse_budget(text, "--llmci-budget", {"score": SCORE})
    [found] = score_gates(tasks, [budget], [])
    return found.outcome, found.message


def test_each_benchmark_counts_once_whatever_its_size() -> None:
    small, large = summary("one", (True, False)), summary("two", (True,) * 8)
    assert gate("score >= 75", small, large)[0] == "passed"
    assert gate("score >= 75.1", small, large)[0] == "failed"


def test_the_subjects_of_a_benchmark_count_by_their_questions() -> None:
    tasks = summary("many", (True, False), subject="x"), summary("many", (True,) * 8, subject="y")
    assert [round(score.per_cent) for score in benchmark_scores(tasks)] == [90]
    assert gate("score.many >= 90", *tasks)[0] == "passed"
    assert gate("score.many > 90", *tasks)[0] == "failed"


def test_what_failed_is_no_zero_and_no_pass() -> None:
    outcome, message = gate("score >= 1", summary("one", (True,)), summary("two", (True,), failed=True))
    assert outcome == "failed" and "two has no score" in message


def test_what_a_test_decides_itself_has_no_gate() -> None:
    budget = parse_budget("score.one >= 1", "--llmci-budget", {"score": SCORE})
    assert score_gates([summary("one", (True,))], [budget], [budget]) == []


def test_answers_that_are_not_complete_have_no_rate() -> None:
    facts = task_facts(questions=5)
    answers = Answers()
    answers.take(questions(task=facts))
    assert not answers.is_complete and answers.rates == {}
    answers.take(questions("q2", right=(True,), first=4, task=facts))
    assert answers.rates["acc"].value == 0.8


def test_only_the_last_attempt_counts_and_a_replay_tells_whether_numbers_repeat() -> None:
    answers = Answers()
    answers.take(questions("q1", right=(False,) * 4))
    answers.take(questions("q2", right=(True,) * 4, attempt=1))
    assert answers.values("acc") == [1.0] * 4 and answers.deterministic is None
    answers.take(questions("q3", right=(True,) * 4, attempt=1, origin="replay"))
    assert answers.deterministic is True
    answers.take(questions("q4", right=(True,), attempt=1, origin="replay", logprobs=[[-1.0000000001, -2.0]]))
    assert answers.deterministic is False
