"""From what stands on the command line to the questions of each test."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.tasks import TASKS
from pytest_llmci.tasks.base import Doc, build_questions
from pytest_llmci.tasks.loading import Asked, TaskTest, parse_asked, task_tests

ROW = {"query": "What melts?", "choices": ["rock", "ice"], "gold": 1}


def rows(count: int) -> str:
    return "".join(json.dumps({**ROW, "query": f"What melts {n}?"}) + "\n" for n in range(count))


def asked(text: str) -> Asked:
    return parse_asked(text, "--llmci-suite")


def found(text: str, base: Path, **options: Any) -> list[TaskTest]:
    return task_tests(asked(text), base, **options)


def test_names_paths_and_examples() -> None:
    assert (asked("mmlu").name, asked("mmlu").place, asked("mmlu").shots) == ("mmlu", "", None)
    assert (asked("mmlu:d/m+shots=5").place, asked("mmlu:d/m+shots=5").shots) == ("d/m", 5)
    own = asked("sets/My questions.jsonl")
    assert own.is_file and own.name == "My-questions" and own.place == "sets/My questions.jsonl"
    assert asked("my.yaml").is_harness_file and not asked("arc_easy:my.jsonl").is_file


@pytest.mark.parametrize("text", [":file.jsonl", "mmlu:", "mmlu+shots=", "mmlu+shots=-1", "mmlu+shot=1"])
def test_what_is_no_suite_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        asked(text)


def test_an_unknown_task_is_told_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmci.tasks.loading._harness_is_there", lambda: False)
    with pytest.raises(UnknownNameError, match="unknown suite 'arc_chalenge'. Did you mean 'arc_challenge'"):
        found("arc_chalenge", tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'hellaswag'"):
        found("helaswag:file.jsonl", tmp_path)
    with pytest.raises(UnknownNameError, match="Known: .*inference, load, mmlu"):
        found("nothing_like_it", tmp_path)


def test_what_is_not_ours_goes_through_the_harness_where_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmci.tasks.loading._harness_is_there", lambda: True)
    [named] = found("lambada_openai+shots=2", tmp_path, limit=7)
    assert (named.harness, named.limit, named.shots) == ("lambada_openai", 7, 2)
    [own] = found("tasks/mine.yaml", tmp_path)
    assert own.harness == str(tmp_path / "tasks/mine.yaml") and own.name == "mine"
    assert "lm-evaluation-harness" in own.announcement
    monkeypatch.setattr("pytest_llmci.tasks.loading._harness_is_there", lambda: False)
    with pytest.raises(
        ConfigError, match=r"every task of lm-evaluation-harness runs: pip install 'pytest-llmci\[eval\]'"
    ):
        found("tasks/mine.yaml", tmp_path)


def test_a_slice_of_a_benchmark_says_how_many_of_how_many(tmp_path: Path) -> None:
    (tmp_path / "some.jsonl").write_text(rows(3), encoding="utf-8")
    [test] = found("arc_easy:some.jsonl", tmp_path)
    questions = test.load()
    assert test.suite == test.name == "arc_easy" and questions.source == "some.jsonl"
    assert questions.label == "3 of 2376 questions" and not questions.is_whole
    [limited] = found("arc_easy:some.jsonl", tmp_path, limit=2)
    assert limited.load().label == "2 of 2376 questions, --llmci-limit=2"


def test_the_whole_of_a_benchmark_has_its_number_of_questions(tmp_path: Path) -> None:
    (tmp_path / "arc_challenge.jsonl").write_text(rows(1172), encoding="utf-8")
    [test] = found("arc_challenge", tmp_path, data=tmp_path)
    assert test.load().is_whole and test.load().label == "1172 questions"
    [limited] = found("arc_challenge", tmp_path, data=tmp_path, limit=1171)
    assert not limited.load().is_whole
    [same] = found("arc_challenge", tmp_path, data=tmp_path, limit=5000)
    assert same.load().is_whole, "a limit that takes nothing away limits nothing"


def test_own_questions_are_whole_unless_limited(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(rows(4), encoding="utf-8")
    assert found("mine.jsonl", tmp_path)[0].load().is_whole
    limited = found("mine.jsonl", tmp_path, limit=3)[0].load()
    assert not limited.is_whole and limited.label == "3 of 4 questions, --llmci-limit=3"


def test_a_question_that_stands_in_a_benchmark_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "some.jsonl").write_text(rows(2) + rows(1), encoding="utf-8")
    assert "1 stands in the file twice" in found("arc_easy:some.jsonl", tmp_path)[0].load().label


def test_the_same_questions_have_the_same_hashes_whatever_their_file(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(rows(2), encoding="utf-8")
    (tmp_path / "two.json").write_text(json.dumps([json.loads(line) for line in rows(2).splitlines()]), "utf-8")
    (tmp_path / "other.jsonl").write_text(rows(1) + json.dumps({**ROW, "gold": 0}) + "\n", encoding="utf-8")
    one, two, other = (found(f"arc_easy:{n}", tmp_path)[0].load() for n in ("one.jsonl", "two.json", "other.jsonl"))
    assert one.questions_sha256 == two.questions_sha256 != other.questions_sha256
    assert one.prompt_sha256 == two.prompt_sha256


def test_mmlu_is_a_test_a_subject_and_its_examples_are_those_beside_it(tmp_path: Path) -> None:
    for part in ("test", "dev"):
        (tmp_path / "mmlu" / part).mkdir(parents=True)
        for subject in ("anatomy", "virology"):
            text = "".join(f"{part} {n}?,a,b,c,d,B\n" for n in range(3))
            (tmp_path / "mmlu" / part / f"{subject}_{part}.csv").write_text(text, encoding="utf-8")
    tests = found("mmlu+shots=2", tmp_path, data=tmp_path)
    assert [(test.name, test.subject) for test in tests] == [("mmlu_anatomy", "anatomy"), ("mmlu_virology", "virology")]
    questions = tests[0].load()
    assert questions.size == 135 and questions.label == "3 of 135 questions, 2 examples in place of 0"
    context = questions.questions[0].asked[0][0]
    about = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    example = "dev {}?\nA. a\nB. b\nC. c\nD. d\nAnswer: B\n\n"
    assert context == about + example.format(0) + example.format(1) + "test 0?\nA. a\nB. b\nC. c\nD. d\nAnswer:"
    with pytest.raises(ConfigError, match="4 examples are asked for and there are 3"):
        found("mmlu+shots=4", tmp_path, data=tmp_path)


def test_examples_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "gsm.jsonl").write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"its prompt has 5 examples, of .*train\.jsonl, which is not there.*shots=0"):
        found("gsm8k:gsm.jsonl", tmp_path)
    assert found("gsm8k:gsm.jsonl+shots=0", tmp_path)[0].load().label == (
        "1 of 1319 questions, 0 examples in place of 5"
    )
    (tmp_path / "some.jsonl").write_text(rows(3), encoding="utf-8")
    with pytest.raises(ConfigError, match="its prompt has no examples here"):
        found("arc_easy:some.jsonl+shots=5", tmp_path)


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmci.tasks.loading.is_there", lambda: False)
    with pytest.raises(ConfigError, match="there is no file or folder"):
        found("arc_easy:no.jsonl", tmp_path)
    with pytest.raises(ConfigError, match="there is no file"):
        found("no.jsonl", tmp_path)
    with pytest.raises(ConfigError, match="holds no arc_easy; looked for arc_easy.jsonl"):
        found("arc_easy", tmp_path, data=tmp_path)
    with pytest.raises(ConfigError, match=r"holds no mmlu; .*Or name the file itself"):
        found(f"mmlu:{tmp_path}", tmp_path)
    with pytest.raises(ConfigError, match=r"no file was given; name one, .*pytest-llmci\[eval\]"):
        found("arc_easy", tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        found("arc_easy", tmp_path, data=tmp_path / "nowhere")


def test_two_files_of_one_task_must_be_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "arc_easy.jsonl").write_text(rows(1), encoding="utf-8")
    with pytest.raises(ConfigError, match="are both arc_easy; name one of them"):
        found("arc_easy", tmp_path, data=tmp_path)


def test_drawn_examples_are_the_same_in_every_session_and_others_for_each_question() -> None:
    docs = [Doc(where=f"row {n}", question=f"What is {n} and 1?", answer=f"#### {n + 1}") for n in range(20)]
    once, again = (build_questions(TASKS["gsm8k"], docs[:3], shots=4, examples=docs) for _ in range(2))
    contexts = [question.asked[0][0] for question in once]
    assert contexts == [question.asked[0][0] for question in again]
    shown = [tuple(re.findall(r"What is (\d+)", context))[:-1] for context in contexts]
    drawn = random.Random(1234)
    assert shown == [tuple(doc.question.split()[2] for doc in drawn.sample(docs, 4)) for _ in range(3)]
