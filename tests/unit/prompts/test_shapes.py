import json
from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.prompts import PromptSet, load_prompts, read_prompts, split_source
from pytest_llmci.prompts.shapes import SHAPES

REAL = Path(__file__).parents[4] / "shared" / "data" / "prompts"


def read(folder: Path, rows: list[object], behind: str = "") -> PromptSet:
    path = folder / "p.json"
    path.write_text(json.dumps(rows))
    return read_prompts(f"{path}{behind}", "x")


# -------------------------------------------------------------------------------------------------------- known shapes


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, ("Add.\n\n1, 2", "3", ())),
        ({"instruction": "Add.", "input": "", "output": "3"}, ("Add.", "3", ())),
        ({"instruction": "Add.", "context": "", "response": "3", "category": "maths"}, ("Add.", "3", ("maths",))),
        ({"question": "Why?", "answer": "So."}, ("Why?", "So.", ())),
        ({"prompt": "Why?", "completion": "So."}, ("Why?", "So.", ())),
        ({"prompt": "Why?", "response": ""}, ("Why?", None, ())),
        ({"question_id": 7, "category": "w", "turns": ["Why?", "How?"], "reference": ["So.", "Thus."]}, ("Why?", "So.", ("w", "turn-1-of-2"))),
        ({"question_id": 7, "category": "w", "turns": ["Why?"]}, ("Why?", None, ("w",))),
        ({"act": "Tax Adviser", "prompt": "Act!", "for_devs": "TRUE"}, ("Act!", None, ("for-devs",))),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}, {"from": "human", "value": "He"}, {"from": "gpt", "value": "Ha"}]}, ("user: Hi\nassistant: Ho\nuser: He", "Ha", ())),
        ({"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Hi"}]}, ("system: S\nuser: Hi", None, ())),
    ],
)  # fmt: skip
def test_rows_of_other_projects(tmp_path: Path, row: object, expected: tuple[str, str | None, tuple[str, ...]]) -> None:
    found = read(tmp_path, [row])
    (prompt,) = found.prompts
    assert (prompt.shown, prompt.reference, prompt.tags) == expected
    assert any(found.shape.startswith(f"{shape.name}: ") for shape in SHAPES)


def test_ids_of_other_projects(tmp_path: Path) -> None:
    rows: list[object] = [
        {"question_id": 81, "turns": ["Why?"]},
        {"act": "Tax Adviser", "prompt": "Act!"},
        {"id": "c1", "question": "a", "answer": "b"},
    ]
    assert [prompt.id for prompt in read(tmp_path, rows).prompts] == ["81", "Tax-Adviser", "c1"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "a", "output": "b", "mood": "c"}, "unknown key 'instruction'"),
        ({"turns": ["a"]}, "unknown key 'turns'"),
        ({"question_id": 1, "turns": []}, "key 'turns': expected a list of texts, found an empty list."),
        ({"question_id": 1, "turns": [5]}, "key 'prompt': expected text"),
        ({"conversations": []}, "key 'conversations': expected a list of messages"),
        ({"conversations": [{"from": "gpt", "value": "b"}]}, "the model's answer alone; nothing is asked."),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "gpt", "value": "c"}]}, "nothing is asked before the last answer."),
        ({"conversations": [{"from": "alien", "value": "b"}]}, "message 1: unknown speaker 'alien'; known: human"),
        ({"conversations": [{"value": "b"}]}, "message 1: expected a mapping with 'from' and 'value'."),
    ],
)  # fmt: skip
def test_faults_of_known_shapes(tmp_path: Path, row: object, expected: str) -> None:
    found = read(tmp_path, ["fine", row])
    assert any("p.json, row 2: " in str(fault) and expected in str(fault) for fault in found.faults), found.faults


def test_an_empty_cell_of_a_table_is_no_other_shape(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("instruction,input,output\nAdd,,3\nWait,,\n")
    first, second = load_prompts("p.csv", "x", tmp_path)
    assert (first.reference, second.text, second.reference) == ("3", "Wait", None)


# ------------------------------------------------------------------------------------------------- columns that are named


def test_columns_are_named_behind_the_file(tmp_path: Path) -> None:
    rows: list[object] = [
        {"q": "Why?", "gold": 42, "name": "My Row", "kind": "w", "extra": {}},
        {"q": "How?", "name": "b"},
        {"q": "Who?"},
    ]
    found = read(tmp_path, rows, "+prompt=q+reference=gold+id=name+tags=kind+limit=2")
    assert [(prompt.id, prompt.text, prompt.reference, prompt.tags) for prompt in found.prompts] == [
        ("My-Row", "Why?", "42", ("w",)),
        ("b", "How?", None, ()),
    ]
    assert found.file == str(tmp_path / "p.json")
    (tmp_path / "p.csv").write_text("q,other\nWhy?,1\n,2\n")
    csv = read_prompts("p.csv+prompt=q", "x", tmp_path)
    assert [prompt.text for prompt in csv.prompts] == ["Why?"]
    assert "row 2 (line 3): there is no 'q' (prompt=q); it has other." in str(csv.faults[0])


def test_packaged_sets_take_a_limit() -> None:
    assert len(load_prompts("paper+limit=3", "x")) == 3


def test_a_file_whose_name_looks_so_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a+prompt=q.txt").write_text("Hi\n")
    assert load_prompts("a+prompt=q.txt", "x", tmp_path)[0].text == "Hi"
    assert split_source("c++.txt", "x") == ("c++.txt", {})


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ("+promt=q", "unknown key 'promt'. Did you mean 'prompt'?"),
        ("+prompt=q+prompt=r", "'+prompt=' is given more than once"),
        ("+limit=0", "'+limit=0' must be a whole number of at least 1."),
        ("+limit=x", "'+limit=x' must be"),
    ],
)
def test_faults_of_what_follows_a_file(tmp_path: Path, behind: str, expected: str) -> None:
    with pytest.raises(ConfigError, match="--llm-prompts: ") as caught:
        read_prompts(f"p.json{behind}", "--llm-prompts", tmp_path)
    assert expected in str(caught.value)


# -------------------------------------------------------------------------------------------------------------- real sets


@pytest.mark.skipif(not REAL.is_dir(), reason="the real sets are not there")
@pytest.mark.parametrize(
    ("name", "count", "shape", "referenced"),
    [
        ("awesome-chatgpt-prompts.csv", 120, "awesome-chatgpt-prompts", 0),
        ("dolly_hhrlhf_train_small.jsonl", 150, "prompts with a response", 150),
        ("mt_bench_question.jsonl", 40, "MT-Bench questions", None),
        ("vicuna_bench_question.jsonl", 40, "MT-Bench questions", 0),
        ("sharegpt_like_conversations.json", 150, "ShareGPT conversations", 150),
        ("sonnet.txt", 518, "", 0),
    ],
)
def test_real_sets_load(name: str, count: int, shape: str, referenced: int | None) -> None:
    found = read_prompts(str(REAL / name), "x")
    assert not found.faults
    assert len(found.prompts) == found.rows == count
    assert found.shape.partition(":")[0] == shape
    if referenced is not None:
        assert sum(prompt.reference is not None for prompt in found.prompts) == referenced
