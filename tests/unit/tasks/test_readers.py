"""Files in the shapes in which benchmarks are published, and what is said of those that are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.tasks import TASKS, mmlu, own
from pytest_llmci.tasks.base import Doc

ARC_AI2 = {
    "id": "Q1", "answerKey": "2",
    "question": {"stem": "What melts?", "choices": [{"text": "rock", "label": "1"}, {"text": "ice", "label": "2"}, {"text": "sand", "label": "3"}]},
}  # fmt: skip
ARC_HUB = {
    "id": "Q1",
    "question": "What melts?",
    "choices": {"text": ["rock", "ice", "sand"], "label": ["A", "B", "C"]},
    "answerKey": "B",
}
ARC_QUERY = {"query": "Question: What melts?", "choices": ["rock", "ice", "sand"], "gold": 1}
ARC_INSTRUCTION = {
    "instruction": "Please choose the correct answer to the question: What melts?\n\nAnswer1: rock Answer2: ice Answer3: sand\n\n"
    "Answer format: answer1/answer2/answer3",
    "input": "",
    "output": "the correct answer is answer2",
    "answer": "answer2",
}
SWAG = {"activity_label": "Baking", "ctx_a": "She opens the oven.", "ctx_b": "she", "ctx": "She opens the oven. she", "endings": ["bakes [step] bread.", "sleeps.", "flies.", "sings."], "label": "0"}  # fmt: skip
TRUTH = {
    "question": "Is water wet?",
    "mc1_targets": {"It is": 1, "No": 0},
    "mc2_targets": {"It is": 1, "Yes": 1, "No": 0},
}


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", [ARC_AI2, ARC_HUB, ARC_QUERY, ARC_INSTRUCTION], ids=["ai2", "hub", "query", "instruction"])  # fmt: skip
def test_arc_in_all_its_shapes_is_the_same_question(tmp_path: Path, row: Any) -> None:
    [doc] = TASKS["arc_challenge"].read(jsonl(tmp_path / "arc.jsonl", row))
    assert (doc.question, doc.choices, doc.gold) == ("What melts?", ("rock", "ice", "sand"), (1,))
    [(context, continuations)] = TASKS["arc_challenge"].ask(doc, "")
    assert context == "Question: What melts?\nAnswer:" and continuations == (" rock", " ice", " sand")
    assert doc.sha256 == Doc(where="", question="What melts?", choices=("rock", "ice", "sand"), gold=(1,)).sha256


def test_an_array_of_json_is_read_like_lines(tmp_path: Path) -> None:
    path = tmp_path / "arc.json"
    path.write_text(json.dumps([ARC_QUERY, ARC_HUB]), encoding="utf-8")
    assert [doc.where for doc in TASKS["arc_easy"].read(path)] == ["arc.json, row 1", "arc.json, row 2"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ARC_HUB, "answerKey": "E"}, "arc.jsonl, line 2: 'answerKey' is 'E', and the choices are called A, B, C"),
        ({**ARC_QUERY, "gold": 3}, "line 2: 'gold' is 3, and the 3 choices have the numbers 0 to 2"),
        ({**ARC_QUERY, "gold": -1}, "line 2: 'gold' is -1"),
        ({**ARC_QUERY, "gold": True}, "line 2: 'gold' should be a whole number, found True"),
        ({**ARC_QUERY, "choices": ["one"]}, "line 2: 'choices' holds 1"),
        ({**ARC_QUERY, "choices": ["one", ""]}, "line 2: entry 2 of 'choices' should be a text, found an empty text"),
        ({**ARC_QUERY, "query": 5}, "line 2: 'query' should be a text, found 5"),
        ({**ARC_HUB, "choices": {"text": ["a", "b"], "label": ["A"]}}, "line 2: 'label' holds 1"),
        ({**ARC_HUB, "choices": "a, b"}, "line 2: 'choices' should hold a text and a label for each choice"),
        ({**ARC_INSTRUCTION, "answer": "answer7"}, "line 2: 'answer' is 'answer7'"),
        ({**ARC_INSTRUCTION, "instruction": "Choose!"}, "line 2: 'instruction' should read"),
        ({"text": "What?"}, "line 2: found the keys text; expected the original JSON Lines"),
        ("What?", "line 2: expected an object with the keys of a question, found the text 'What?'"),
    ],
)
def test_a_malformed_row_of_arc_is_named_with_its_file_and_line(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        TASKS["arc_challenge"].read(jsonl(tmp_path / "arc.jsonl", ARC_QUERY, row))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "arc.jsonl"
    path.write_text(json.dumps(ARC_QUERY) + "\n{oops\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"arc\.jsonl, line 2: not valid JSON"):
        TASKS["arc_easy"].read(path)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_file_without_questions_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / ("anatomy_test.csv" if name == "mmlu" else "empty.jsonl")
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no question"):
        TASKS[name].read(path)


def test_hellaswag_as_published_is_cleaned_and_its_second_half_capitalised(tmp_path: Path) -> None:
    [doc] = TASKS["hellaswag"].read(jsonl(tmp_path / "swag.jsonl", SWAG))
    assert doc.question == "Baking: She opens the oven. She"
    assert doc.choices[0] == "bakes bread."
    assert doc.gold == (0,) and doc.variant == ""


def test_hellaswag_in_the_text_form_of_llama_cpp_says_that_its_contexts_differ(tmp_path: Path) -> None:
    path = tmp_path / "swag.txt"
    path.write_text("Baking: She opens the oven. she\n1\nsleeps.\nbakes bread.\nflies.\nsings.\n", encoding="utf-8")
    [doc] = TASKS["hellaswag"].read(path)
    assert (doc.question, doc.gold) == ("Baking: She opens the oven. she", (1,))
    assert "capital" in doc.variant
    joined = {key: value for key, value in SWAG.items() if key not in ("ctx_a", "ctx_b")}
    [same] = TASKS["hellaswag"].read(jsonl(tmp_path / "joined.jsonl", joined))
    assert same.question == doc.question and same.variant == doc.variant


def test_a_text_form_of_hellaswag_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swag.txt"
    path.write_text("Baking: She\n1\nsleeps.\nbakes.\nflies.\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="5 lines are no whole number of questions of 6 lines"):
        TASKS["hellaswag"].read(path)
    path.write_text("Baking: She\n4\nsleeps.\nbakes.\nflies.\nsings.\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"swag\.txt, line 1: 'label' is 4"):
        TASKS["hellaswag"].read(path)


@pytest.mark.parametrize(
    "text", ["What is\n1?,one,two,three,four,A\n", 'question,A,B,C,D,answer\n"What is 1?",one,two,three,four,0\n']
)
def test_mmlu_with_letters_or_with_a_header_and_numbers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "anatomy_test.csv"
    path.write_text(text.replace("What is\n1?", "What is 1?"), encoding="utf-8")
    [doc] = TASKS["mmlu"].read(path)
    assert (doc.question, doc.choices, doc.gold) == ("What is 1?", ("one", "two", "three", "four"), (0,))
    [(context, continuations)] = TASKS["mmlu"].ask(doc, "anatomy")
    assert context == "What is 1?\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    assert continuations == (" A", " B", " C", " D") and TASKS["mmlu"].lengths(doc) == (1, 1, 1, 1)
    assert mmlu.subject_of(path) == "anatomy"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q,a,b,c,d,E", "line 1: 'answer' is 'E', and the choices are called A, B, C, D"),
        ("q,a,b,c,d,4", "line 1: 'answer' is '4', and the choices are called 0, 1, 2, 3"),
        ("q,a,b,c,A", "line 1: 5 columns; expected 6"),
        ("q,a,,c,d,A", "line 1: entry 2 of 'choices'"),
    ],
)
def test_a_malformed_line_of_mmlu_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "anatomy_test.csv"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        TASKS["mmlu"].read(path)
    assert message in str(raised.value)


def test_a_row_of_mmlu_with_another_number_of_choices_is_named(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "anatomy_test.jsonl",
        {"question": "What is 1?", "choices": ["one", "two", "three", "four", "five"], "answer": 0},
    )
    with pytest.raises(ConfigError, match="line 1: 'choices' holds 5; a question of MMLU has 4"):
        TASKS["mmlu"].read(path)


def test_a_file_that_is_no_subject_of_mmlu_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown subject of MMLU 'anatomie'. Did you mean 'anatomy'"):
        mmlu.subject_of(tmp_path / "anatomie_test.csv")


def test_all_of_mmlu_has_as_many_questions_as_its_subjects() -> None:
    assert len(mmlu.SIZES) == 57 and TASKS["mmlu"].size == 14042


def test_truthfulqa_of_either_kind(tmp_path: Path) -> None:
    hub = {
        "question": "Is water wet?",
        "mc1_targets": {"choices": ["It is", "No"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["It is", "Yes", "No"], "labels": [1, 1, 0]},
    }
    for row in (TRUTH, hub):
        path = jsonl(tmp_path / "mc.jsonl", row)
        assert TASKS["truthfulqa_mc1"].read(path)[0].gold == (0,)
        [two] = TASKS["truthfulqa_mc2"].read(path)
        assert two.gold == (0, 1) and two.choices == ("It is", "Yes", "No")
    [(context, _)] = TASKS["truthfulqa_mc2"].ask(two, "")
    assert context.startswith("Q: What is human life expectancy") and context.endswith("\n\nQ: Is water wet?\nA:")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"It is": 0, "No": 0}, "marks 0 answers as right; expected exactly one"),
        ({"It is": 1, "No": 1}, "marks 2 answers as right; expected exactly one"),
        ({"It is": 2}, "needs a label for each answer"),
        ({"choices": ["a", "b"], "labels": [1]}, "needs a label for each answer"),
        ([], "'mc1_targets' is missing"),
    ],
)
def test_labels_of_truthfulqa_that_make_no_sense(tmp_path: Path, targets: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TASKS["truthfulqa_mc1"].read(jsonl(tmp_path / "mc.jsonl", {**TRUTH, "mc1_targets": targets}))


def test_gsm8k_needs_the_number_behind_the_answer(tmp_path: Path) -> None:
    [doc] = TASKS["gsm8k"].read(jsonl(tmp_path / "test.jsonl", {"question": "1+1?", "answer": "It is 2.\n#### 2"}))
    assert TASKS["gsm8k"].ask(doc, "") == (("Question: 1+1?\nAnswer:", ()),)
    with pytest.raises(ConfigError, match="line 1: 'answer' has no '#### '"):
        TASKS["gsm8k"].read(jsonl(tmp_path / "test.jsonl", {"question": "1+1?", "answer": "2"}))


def test_winogrande_scores_the_end_behind_each_beginning(tmp_path: Path) -> None:
    row = {"sentence": "Ann thanked Eve because _ had helped.", "option1": "Ann", "option2": "Eve", "answer": "2"}
    [doc] = TASKS["winogrande"].read(jsonl(tmp_path / "dev.jsonl", row))
    assert TASKS["winogrande"].ask(doc, "") == (
        ("Ann thanked Eve because Ann", (" had helped.",)),
        ("Ann thanked Eve because Eve", (" had helped.",)),
    )
    assert doc.gold == (1,)
    with pytest.raises(ConfigError, match="has no '_'"):
        TASKS["winogrande"].read(jsonl(tmp_path / "dev.jsonl", {**row, "sentence": "Ann."}))


def test_a_question_of_ones_own_counts_once(tmp_path: Path) -> None:
    task, other = own.own_task("mine"), {**ARC_QUERY, "query": "What burns?"}
    assert len(task.read(jsonl(tmp_path / "mine.jsonl", ARC_QUERY, other))) == 2
    with pytest.raises(ConfigError, match="mine.jsonl, line 3: repeats line 1"):
        task.read(jsonl(tmp_path / "mine.jsonl", ARC_QUERY, other, ARC_QUERY))
    with pytest.raises(ConfigError, match="mine.jsonl, line 2: contradicts line 1"):
        task.read(jsonl(tmp_path / "mine.jsonl", ARC_QUERY, {**ARC_QUERY, "gold": 0}))
