from __future__ import annotations

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.matrix import CellIds, cell_id, check_prompt_ids, expand
from pytest_llmci.records import TEST_BODY, Cell, Message, ModelSpec, Prompt


def model(alias: str, text: str = "", revision: str = "") -> ModelSpec:
    return ModelSpec(alias=alias, backend="echo", text=text or alias, revision=revision)


def prompt(name: str, source: str = "a.yaml") -> Prompt:
    return Prompt(id=name, text=f"text of {name}", source=source)


def test_every_model_meets_every_prompt_and_a_models_cells_stand_together() -> None:
    cells = expand([model("b"), model("a")], [prompt("2"), prompt("1")])
    assert [cell.id for cell in cells] == ["b-2", "b-1", "a-2", "a-1"]
    assert (cells[0].model.alias, cells[0].prompt.id) == ("b", "2")
    assert expand([], [prompt("1")]) == ()


def test_a_new_revision_has_the_same_id() -> None:
    assert cell_id(model("m", revision="v1"), prompt("p")) == cell_id(model("m", revision="v2"), prompt("p"))


def test_names_that_run_into_each_other_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        expand([model("a"), model("a-b", "echo:x")], [prompt("b-c"), prompt("c")])
    assert str(caught.value) == (
        "model 'a' with prompt 'b-c' and model 'echo:x' with prompt 'c' would both be called 'a-b-c';"
        " name one of the models: other=echo:x."
    )


def test_two_prompts_of_one_id_name_their_sources() -> None:
    with pytest.raises(
        ConfigError, match="two prompts of 'a.yaml' and 'b.yaml' have the id 'same'; rename one of them"
    ):
        expand([model("m")], [prompt("same"), prompt("same", "b.yaml")])


def test_two_prompts_of_one_id_are_refused_without_a_model() -> None:
    check_prompt_ids([prompt("one", "a.yaml"), prompt("two", "b.yaml")])
    with pytest.raises(
        ConfigError, match="two prompts of 'a.yaml' and 'b.yaml' have the id 'same'; rename one of them"
    ):
        check_prompt_ids([prompt("same", "a.yaml"), prompt("other"), prompt("same", "b.yaml")])


def cell(prompt: Prompt, alias: str = "m") -> Cell:
    return Cell(id=f"{alias}-{prompt.id}", model=model(alias), prompt=prompt)


def test_a_test_may_ask_a_model_the_same_twice_and_two_tests_may_call_different_prompts_alike() -> None:
    ids = CellIds()
    for source in ("a.yaml", "b.yaml"):
        ids.note(cell(prompt("same", source)), "test_it.py::test_it")
    ids.note(cell(prompt("same"), "other"), "test_it.py::test_it")
    ids.note(cell(Prompt(id="same", text="what another asks")), "test_it.py::test_other")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            Prompt(id="p", text="a-b", source=TEST_BODY),
            (
                'the prompts "a b" (a.yaml, row 1) and "a-b" have the same id \'p\'; give one of them another id, such as'
                ' pytest_llmci.Prompt(id="other", text=...).'
            ),
        ),
        (
            Prompt(id="p", messages=(Message(role="user", content="hello " * 30),), source="b.yaml, row 2"),
            (
                f'the prompts "a b" (a.yaml, row 1) and "user: {"hello " * 9} ..." (b.yaml, row 2) have the same id \'p\';'
                " give one of them another id."
            ),
        ),
    ],
)
def test_what_is_asked_otherwise_must_be_called_otherwise(other: Prompt, words: str) -> None:
    ids = CellIds()
    ids.note(cell(Prompt(id="p", text="a b", source="a.yaml, row 1")), "test")
    with pytest.raises(ConfigError) as caught:
        ids.note(cell(other), "test")
    assert str(caught.value) == words


def test_cells_of_a_test_whose_names_run_into_each_other_are_refused() -> None:
    ids = CellIds()
    ids.note(cell(prompt("b-c"), "a"), "test")
    with pytest.raises(ConfigError, match=r"model 'a' with prompt 'b-c' and model 'a-b' with prompt 'c' would both be"):
        ids.note(cell(prompt("c"), "a-b"), "test")
