"""From tests and markers to cells: parametrization, plans, groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pytest

from ..records import ModelSpec, Prompt

OUR_MODULE = "pytest_llmci.plugin.fixtures"


def resolves_to_ours(node: Any, name: str) -> bool:
    """Whether that fixture name reaches our fixture from this test.

    A user's own fixture of the same name is left alone, unless it asks for ours: ``def llm(llm): return Wrapper(llm)``.

    :param node: an item or a function definition.
    """
    info = getattr(node, "_fixtureinfo", None)
    definitions = info.name2fixturedefs.get(name, ()) if info is not None else ()
    for definition in reversed(definitions):
        if definition.func.__module__ == OUR_MODULE:
            return True
        if name not in definition.argnames:
            return False
    return False


def gets_prompt_as_it_is(item: pytest.Item) -> bool:
    """Whether the test's prompt is the one that it was parametrized with, and no fixture of the user's makes another of it."""
    info = getattr(item, "_fixtureinfo", None)
    definitions = info.name2fixturedefs.get("llm_prompt", ()) if info is not None else ()
    return any(each.func.__module__ in (OUR_MODULE, "_pytest.python") for each in definitions[-1:])


def parametrized_by_user(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether the test's own ``parametrize`` sets that argument."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
        if name in ([part.strip() for part in names.split(",")] if isinstance(names, str) else names):
            return True
    return False


def parametrize_models(metafunc: pytest.Metafunc, models: Sequence[ModelSpec]) -> None:
    """One test for each model.

    With session scope pytest would move all tests about, those without a model too; so it is asked for only where a fixture
    of wider scope is built on ``llm``.
    """
    scope: Literal["session", "function"] = "session" if _needed_by_wider_fixture(metafunc) else "function"
    metafunc.parametrize("llm", models, indirect=True, scope=scope, ids=[spec.alias for spec in models])


def _needed_by_wider_fixture(metafunc: pytest.Metafunc) -> bool:
    info = getattr(metafunc.definition, "_fixtureinfo", None)
    definitions = (
        [definition for each in info.name2fixturedefs.values() for definition in each] if info is not None else []
    )
    return any("llm" in definition.argnames and definition.scope != "function" for definition in definitions)


def parametrize_prompts(metafunc: pytest.Metafunc, prompts: Sequence[Prompt]) -> None:
    """One test for each prompt."""
    metafunc.parametrize("llm_prompt", prompts, indirect=True, ids=[prompt.id for prompt in prompts])


def parameter(item: pytest.Item, name: str) -> Any:
    """The value that a test was parametrized with; None if it was not."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(name) if callspec is not None else None


def model_of(item: pytest.Item) -> ModelSpec | None:
    """The model of a test of ours; None for all others."""
    value = getattr(item, "llmci_model", None)
    if value is None and resolves_to_ours(item, "llm"):
        value = parameter(item, "llm")
        item.llmci_model = value  # type: ignore[attr-defined]  # asked for several times a test
    return value if isinstance(value, ModelSpec) else None


def group_by_model(items: list[pytest.Item]) -> None:
    """Bring the tests of each model together, in place, so that each is loaded once.

    Only tests with a model move, and only among the places that such tests hold; every other test stays where it is.
    """
    places: list[int] = []
    groups: dict[str, list[pytest.Item]] = {}
    for place, item in enumerate(items):
        model = model_of(item)
        if model is not None:
            places.append(place)
            groups.setdefault(model.alias, []).append(item)
    ordered: Iterable[pytest.Item] = (item for group in groups.values() for item in group)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item
