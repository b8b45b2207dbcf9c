"""What a test file means to a session: cells, plans and faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmci import backends, checks, measure
from pytest_llmci.engine.marker_values import MarkerValues
from pytest_llmci.engine.places import Places
from pytest_llmci.engine.planner import Planner
from pytest_llmci.engine.testfile import PlannedTest, prompts_of_file, read_file
from pytest_llmci.errors import ConfigError
from pytest_llmci.given import Given, resolve_settings
from pytest_llmci.registry import Registry
from pytest_llmci.testfiles.keys import KEYS
from pytest_llmci.testfiles.nodes import Faults


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    registry = Registry()
    for package in (backends, checks, measure):
        package.register(registry)

    def make(text: str, **given: str) -> tuple[PlannedTest, ...]:
        path = tmp_path / "test_it.llm.yaml"
        path.write_text(text, "utf-8")
        settings = resolve_settings({name: Given(value, f"--llmci-{name}") for name, value in given.items()}, [])
        planner = Planner(settings, registry, Places(command=tmp_path, settings=tmp_path), [])
        faults = Faults()
        tests = read_file(path, "test_it.llm.yaml", planner, faults)
        if faults:
            raise ConfigError("\n".join(faults.lines()))
        return tests

    return make


def test_every_key_of_the_marker_is_one_of_a_file() -> None:
    assert set(MarkerValues.__dataclass_fields__) <= set(KEYS)


def test_a_cell_is_planned_as_the_file_says(plan: Any) -> None:
    (test,) = plan(
        "models: [a=echo]\nprompts: [{prompt: Hi., checks: json, max_new_tokens: 5}, Ho.]\nrounds: 4\nwarmup: 0\nmax_new_tokens: 9\n"
        "temperature: 0.5\nchecks: [non_empty]\nbudgets: [latency <= 1s, 'b*: latency <= 2s']\n",
        rounds="7", max_rounds="9", budget="latency <= 9s",
    )  # fmt: skip
    (first, one), (_, two) = test.cells
    assert (first.id, first.model.alias, first.prompt.text) == ("a-Hi", "a", "Hi.")
    assert (one.rounds, one.max_rounds, one.warmup, one.generation.temperature) == (4, 9, 0, 0.5)
    assert (one.generation.max_new_tokens, two.generation.max_new_tokens) == (5, 9)
    assert one.said == {"max_new_tokens", "temperature"}
    assert (one.checks, two.checks) == (("valid", "non_empty", "json"), ("valid", "non_empty"))
    assert [(budget.text, budget.origin) for budget in one.budgets] == [
        ("latency <= 1s", "test_it.llm.yaml:8"), ("latency <= 9s", "--llmci-budget"),
    ]  # fmt: skip
    assert [budget.text for budget in test.budgets] == ["latency <= 1s", "b*: latency <= 2s"]


def test_a_test_that_is_not_timed_is_excused_from_budgets_of_its_file_only(plan: Any) -> None:
    common = "models: echo\nprompts: [Hi.]\nbudgets: [latency <= 1s, output_tokens <= 99]\n"
    (test,) = plan(common + "tests: [{name: a, timed: false}]\n")
    ((_, cell),) = test.cells
    assert [budget.text for budget in cell.budgets] == ["output_tokens <= 99"] and cell.rounds == 1
    for text in (
        common + "timed: false\n",
        "models: echo\nprompts: [Hi.]\ntimed: false\ntests: [{name: a, budgets: [latency <= 1s]}]\n",
    ):
        with pytest.raises(ConfigError, match="'latency <= 1s' can never be judged: with timed: false"):
            plan(text)


def test_an_alias_of_the_session_and_a_list_of_models_are_models(plan: Any, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- c=echo\n- d=echo\n", "utf-8")
    (test,) = plan("models: [mine, '@list.yaml']\nprompts: [Hi.]\n", models="mine=echo,other=echo")
    assert [cell.model.alias for cell, _ in test.cells] == ["mine", "c", "d"]


def test_what_the_session_leaves_open_is_no_fault_of_the_file(plan: Any) -> None:
    (test,) = plan("rounds: 3\n")
    assert test.cells == () and test.missing.startswith("test_it.llm.yaml::test_it: no model: ")
    (test,) = plan("rounds: 3\n", models="echo")
    assert test.missing.startswith("test_it.llm.yaml::test_it: no prompts: ")


def test_a_check_that_needs_a_reference_is_told_where_it_stands(plan: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^test_it.llm.yaml:2:9: checks: .*'equals' compares with a reference, and prompt 'Hi' has none",
    ):
        plan("models: echo\nchecks: [equals]\nprompts: [Hi.]\n")


def test_every_prompt_of_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "test_it.llm.yaml"
    (tmp_path / "more.txt").write_text("Three.\n", "utf-8")
    path.write_text(
        "tests: [{name: a, prompts: [One., {id: x, prompt: Two.}]}, {name: b, prompts: [more.txt, One.]}]\n", "utf-8"
    )
    assert [prompt.text for prompt in prompts_of_file(path, path.name, "git:HEAD")] == [
        "One.",
        "Two.",
        "Three.",
    ]
    path.write_text("round: 1\n", "utf-8")
    with pytest.raises(ConfigError, match="git:HEAD: test_it.llm.yaml:1:1: round: unknown key"):
        prompts_of_file(path, path.name, "git:HEAD")


def test_two_prompts_of_one_id_are_told_once(plan: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        plan("models: echo\nprompts: [Hi., Hi.]\n")
    assert str(caught.value) == (
        "test_it.llm.yaml:2:16: prompts[2]: the prompt of line 2 has the id 'Hi' as well; give one of them another id."
    )
