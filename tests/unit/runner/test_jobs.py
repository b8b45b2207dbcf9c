from __future__ import annotations

import pytest

from pytest_llmci.records import Prompt, ScoreRequest
from pytest_llmci.runner import jobs
from pytest_llmci.runner.jobs import Job, generate_job, in_messages, score_job, score_size
from pytest_llmci.runner.progress import Position


def test_messages_are_bounded_in_number_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MESSAGE_REQUESTS", 3)
    monkeypatch.setattr(jobs, "MESSAGE_CHARACTERS", 10)
    assert [*in_messages("abcdefg", len)] == [(0, "abc"), (3, "def"), (6, "g")]
    assert [*in_messages(["x" * 6, "x" * 4, "x", "x" * 50, "x"], len)] == [
        (0, ["x" * 6, "x" * 4]), (2, ["x"]), (3, ["x" * 50]), (4, ["x"]),
    ]  # fmt: skip
    assert [*in_messages([], len)] == []
    assert score_size(ScoreRequest(context="abc", continuations=("de", "f"))) == 6


@pytest.mark.parametrize(
    ("job", "first", "position", "words"),
    [
        (score_job([ScoreRequest(context="", continuations=("x",), id="arc-1")] * 9), 3, (2, 1), "in llm.score_many, question 6 of 9 (arc-1)"),
        (score_job([ScoreRequest(context="", continuations=("x",))] * 9), 0, (2, 4), "in llm.score_many, question 3 of 9 and 3 more in its batch"),
        (generate_job([Prompt(id="p", text="x")]), 0, (0, 1), "in llm.generate_many, prompt 1 of 1 (p)"),
        (generate_job([Prompt(id="p", text="x")]), 0, (0, 0), "in llm.generate_many, before the first prompt of a batch"),
        (generate_job([Prompt(id="p", text="x")]), 0, (7, 1), "in llm.generate_many, before the first prompt of a batch"),
    ],
)  # fmt: skip
def test_where_it_stood_in_words(job: Job, first: int, position: tuple[int, int], words: str) -> None:
    job.first = first
    assert job.when(Position("scoring many", position[0], 5, position[1])) == words


def test_what_had_come_is_told() -> None:
    job = score_job([ScoreRequest(context="", continuations=("x",))] * 9)
    assert job.kept is None
    job.done = 4
    assert job.kept == "4 of 9 questions had been answered"
