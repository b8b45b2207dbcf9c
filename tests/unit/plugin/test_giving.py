from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.plugin import fixtures
from pytest_llmci.plugin.collecting import OUR_MODULE
from pytest_llmci.plugin.giving import Giving


def asked(name: str, module: str = OUR_MODULE, **known: object) -> tuple[Any, Any]:
    """The fixture's definition, and the request for it."""
    definition = SimpleNamespace(
        argname=name, func=SimpleNamespace(__module__=module), cached_result=None, cache_key=lambda request: "key"
    )
    return definition, SimpleNamespace(getfixturevalue=lambda argument: f"the {argument}", **known)


def giving(**running: Any) -> Giving:
    config = SimpleNamespace(option=SimpleNamespace(setupplan=running.pop("setupplan", False)))
    plugin: Any = SimpleNamespace(config=config, running=SimpleNamespace(**running))
    return Giving(plugin, plugin.running)


@pytest.mark.parametrize("name", ["llm", "llm_prompt", "llm_result"])
def test_the_fixtures_of_every_cell_ask_for_nothing_that_pytest_builds_anew(name: str) -> None:
    definition: Any = getattr(fixtures, name)
    assert {"llm", "llm_prompt"}.issuperset(inspect.signature(definition._get_wrapped_function()).parameters)


def test_a_value_is_made_and_kept_for_who_asks_again() -> None:
    definition, request = asked("llm", param="spec")
    assert giving(handle=lambda spec: f"handle of {spec}").pytest_fixture_setup(definition, request) == "handle of spec"
    assert definition.cached_result == ("handle of spec", "key", None)
    definition, request = asked("llm_result")
    assert giving(measure=lambda *given: given).pytest_fixture_setup(definition, request) == (
        *("the llm", "the llm_prompt"),
    )


@pytest.mark.parametrize(
    ("name", "module", "setupplan"),
    [("llm", "conftest", False), ("llm_open", OUR_MODULE, False), ("llm", OUR_MODULE, True)],
)
def test_all_other_fixtures_are_left_to_pytest(name: str, module: str, setupplan: bool) -> None:
    definition, request = asked(name, module, param="spec")
    assert giving(setupplan=setupplan).pytest_fixture_setup(definition, request) is None
    assert definition.cached_result is None


def test_a_skip_is_told_at_the_line_of_the_test() -> None:
    def skip(*given: object) -> None:
        pytest.skip("no")

    definition, request = asked("llm_result")
    with pytest.raises(pytest.skip.Exception) as caught:
        giving(measure=skip).pytest_fixture_setup(definition, request)
    assert caught.value._use_item_location


def test_without_a_parameter_it_says_what_to_do() -> None:
    definition, request = asked("llm_prompt")
    with pytest.raises(
        pytest.fail.Exception, match="'llm_prompt' must be an argument of the test itself.* unittest.TestCase take no"
    ):
        giving(prompt=str).pytest_fixture_setup(definition, request)


@pytest.mark.parametrize("outcome", [pytest.fail, pytest.skip])
def test_what_a_fixture_failed_with_is_kept_for_who_asks_again(outcome: Any) -> None:
    """Else pytest finds the fixture half made, and every later test of the session breaks."""

    def end(spec: object) -> None:
        outcome("not this one")

    definition, request = asked("llm", param="spec")
    with pytest.raises(outcome.Exception) as caught:
        giving(handle=end).pytest_fixture_setup(definition, request)
    value, key, (error, traceback) = definition.cached_result
    assert (value, key, error) == (None, "key", caught.value)
    assert traceback is not None


def function(*names: str, **params: object) -> Any:
    return SimpleNamespace(fixturenames=names, funcargs={}, callspec=SimpleNamespace(params=params))


def test_a_test_is_given_what_it_asks_for_and_no_more() -> None:
    asks: Any = function("llm", "llm_result", "llm_prompt", llm="spec", llm_prompt="row")
    gives = giving(
        handle=lambda spec: f"handle of {spec}", prompt=lambda row: f"the {row}", measure=lambda *given: given
    )
    gives.leave_out(asks)
    assert asks.funcargs.keys() == {"llm", "llm_result", "llm_prompt"}, "else pytest would set them up"
    gives.give(asks)
    assert asks.funcargs == {
        "llm": "handle of spec",
        "llm_prompt": "the row",
        "llm_result": ("handle of spec", "the row"),
    }
    alone: Any = function("llm", "pytestconfig", llm="spec")
    gives.leave_out(alone)
    alone.funcargs["pytestconfig"] = "what pytest gave"
    gives.give(alone)
    assert alone.funcargs == {"llm": "handle of spec", "pytestconfig": "what pytest gave"}


def test_a_skip_of_a_test_that_is_given_all_is_told_at_its_line() -> None:
    def skip(*given: object) -> None:
        pytest.skip("no")

    asks: Any = function("llm", llm="spec")
    gives = giving(handle=skip)
    gives.leave_out(asks)
    with pytest.raises(pytest.skip.Exception) as caught:
        gives.give(asks)
    assert caught.value._use_item_location
