from __future__ import annotations

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.matrix import cell_id, check_prompt_ids, expand
from pytest_llmci.records import ModelSpec, Prompt


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
