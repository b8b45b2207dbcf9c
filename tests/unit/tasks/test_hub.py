"""Documents from the hub: only through an installed ``datasets``, and failures in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.tasks import TASKS, hub
from pytest_llmci.tasks.loading import parse_asked, task_tests

ARC = {"question": "What melts?", "choices": {"text": ["rock", "ice"], "label": ["A", "B"]}, "answerKey": "B"}


class FakeDatasets(ModuleType):
    """Answers ``load_dataset`` and remembers what was asked."""

    def __init__(self, rows: Any) -> None:
        super().__init__("datasets")
        self.asked: list[tuple[Any, ...]] = []
        self._rows = rows

    def disable_progress_bars(self) -> None:
        pass

    def load_dataset(self, path: str, name: str | None, *, split: str) -> Any:
        self.asked.append((path, name, split))
        if isinstance(self._rows, Exception):
            raise self._rows
        return self._rows


def install(monkeypatch: pytest.MonkeyPatch, rows: Any) -> FakeDatasets:
    fake = FakeDatasets(rows)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setattr(hub, "is_there", lambda: True)
    monkeypatch.setattr("pytest_llmci.tasks.loading.is_there", lambda: True)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return fake


def test_nothing_is_fetched_before_the_questions_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, [ARC])
    [test] = task_tests(parse_asked("arc_easy", "--llmci-suite"), tmp_path)
    assert fake.asked == []
    assert test.announcement.startswith("arc_easy: will be fetched from the hub, unless it is in the cache: allenai")
    questions = test.load()
    assert fake.asked == [("allenai/ai2_arc", "ARC-Easy", "test")]
    assert questions.source == "hub: allenai/ai2_arc (ARC-Easy), test" and len(questions.questions) == 1


def test_mmlu_of_the_hub_is_a_test_a_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, [{"question": "1?", "choices": ["a", "b", "c", "d"], "answer": 2}] * 5)
    tests = task_tests(parse_asked("mmlu+shots=5", "--llmci-suite"), tmp_path, limit=1)
    assert len(tests) == 57 and tests[1].name == "mmlu_anatomy"
    assert tests[1].load().questions[0].gold == (2,)
    assert fake.asked == [("cais/mmlu", "anatomy", "test"), ("cais/mmlu", "anatomy", "dev")]


def test_offline_only_the_cache_is_asked_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ConnectionError("no route"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    [test] = task_tests(parse_asked("arc_easy", "--llmci-suite"), tmp_path)
    assert test.announcement == "arc_easy: allenai/ai2_arc from the cache alone, as HF_HUB_OFFLINE is set"
    with pytest.raises(ConfigError, match=r"cannot be had from the hub \(HF_HUB_OFFLINE is set\): ConnectionError: no"):
        test.load()


def test_a_malformed_row_of_the_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [ARC, {**ARC, "answerKey": "Z"}])
    with pytest.raises(ConfigError, match="allenai/ai2_arc test, row 2: 'answerKey' is 'Z'"):
        hub.hub_docs(TASKS["arc_easy"])
