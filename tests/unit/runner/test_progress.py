from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmci.runner.progress import PHASES, Position, ProgressPage


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[ProgressPage, ProgressPage]]:
    """The parent's page and the child's."""
    path = str(tmp_path / "progress")
    parent = ProgressPage(path, create=True)
    child = ProgressPage(path)
    yield parent, child
    parent.close()
    child.close()


def test_the_parent_sees_what_the_child_says(pages: tuple[ProgressPage, ProgressPage]) -> None:
    parent, child = pages
    assert parent.read() == Position("starting", 0, 0, 0)
    child.enter("measuring", 3)
    child.tokens(11)
    assert parent.read() == Position("measuring", 3, 1, 11)


def test_every_round_moves_the_beat_and_starts_the_count_of_tokens_anew(
    pages: tuple[ProgressPage, ProgressPage],
) -> None:
    parent, child = pages
    for beat in (1, 2):
        child.enter("measuring", 0)
        assert (parent.read().beat, parent.read().tokens) == (beat, 0)
        child.tokens(5)
        assert parent.read().beat == beat


def test_the_beat_tells_when_it_came(pages: tuple[ProgressPage, ProgressPage]) -> None:
    parent, child = pages
    before = time.perf_counter_ns()
    child.enter("measuring", 0)
    assert before <= parent.read().began_ns <= time.perf_counter_ns()


def test_a_page_of_another_version_is_no_crash(tmp_path: Path) -> None:
    page = ProgressPage(str(tmp_path / "p"), create=True)
    with open(tmp_path / "p", "r+b") as file:
        file.write(b"\xff" * 16)
    assert page.read().phase == "starting"
    page.close()


def test_the_child_does_not_make_the_page(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ProgressPage(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("phase", "tokens", "words"),
    [
        ("measuring", 11, "round 2 of 5, 11 tokens into the answer"),
        ("measuring", 1, "round 2 of 5, 1 token into the answer"),
        ("warm-up", 0, "warm-up, 0 tokens into the answer"),
        ("loading", 0, "while loading"),
        ("streaming", 3, "in llm.stream, 3 tokens into the answer"),
        ("scoring", 0, "in llm.score"),
        ("importing", 0, "while importing"),
        ("starting", 0, "while starting"),
        ("calling", 0, "in llm.call"),
        ("idle", 9, "between inferences"),
        ("scoring many", 2, "while scoring many"),
        ("generating many", 2, "while generating many"),
    ],
)
def test_where_it_stood_in_words(phase: str, tokens: int, words: str) -> None:
    assert phase in PHASES
    assert Position(phase, 1, 7, tokens).describe(5) == words
