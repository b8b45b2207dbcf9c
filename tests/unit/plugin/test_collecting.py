from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from pytest_llmci.plugin.collecting import OUR_MODULE, group_by_model, model_of, resolves_to_ours
from pytest_llmci.records import ModelSpec


class Item:
    """A test, as far as grouping looks at it: ``a1`` asks the model ``a``, ``-1`` asks none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.llmci_model = None if name[0] == "-" else ModelSpec(alias=name[0], backend="echo")


def grouped(names: str) -> str:
    items = cast("list[pytest.Item]", [Item(name) for name in names.split()])
    group_by_model(items)
    return " ".join(item.name for item in items)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a1 b1 a2 b2", "a1 a2 b1 b2"),
        ("b1 a1 b2 a2", "b1 b2 a1 a2"),
        ("a1 -1 b1 -2 a2", "a1 -1 a2 -2 b1"),
        ("-1 -2", "-1 -2"),
        ("a1 a2", "a1 a2"),
        ("c1 b1 a1 c2 b2 a2", "c1 c2 b1 b2 a1 a2"),
    ],
)
def test_a_models_tests_come_together_and_all_others_stay(names: str, expected: str) -> None:
    assert grouped(names) == expected


def definition(module: str, *argnames: str) -> SimpleNamespace:
    return SimpleNamespace(func=SimpleNamespace(__module__=module), argnames=argnames)


def node(*definitions: SimpleNamespace, model: object = None) -> SimpleNamespace:
    """A test whose ``llm`` has these definitions, the closest one last."""
    return SimpleNamespace(
        _fixtureinfo=SimpleNamespace(name2fixturedefs={"llm": definitions}), callspec=SimpleNamespace(params={"llm": model})
    )  # fmt: skip


OURS, THEIRS, WRAPPER = definition(OUR_MODULE), definition("conftest"), definition("conftest", "request", "llm")


@pytest.mark.parametrize(
    ("test", "ours"),
    [
        (node(OURS), True),
        (node(OURS, THEIRS), False),
        (node(OURS, WRAPPER), True),
        (node(OURS, THEIRS, WRAPPER), False),
        (node(OURS, WRAPPER, WRAPPER), True),
        (node(THEIRS), False),
        (node(), False),
        (SimpleNamespace(), False),
    ],
)
def test_a_users_own_fixture_is_left_alone_unless_it_asks_for_ours(test: SimpleNamespace, ours: bool) -> None:
    assert resolves_to_ours(test, "llm") is ours


def test_the_model_of_a_test_is_its_parameter_where_the_fixture_is_ours() -> None:
    spec = ModelSpec(alias="a", backend="echo")
    for test, expected in [
        (node(OURS, model=spec), spec),
        (node(THEIRS, model=spec), None),
        (node(OURS, model="a"), None),
    ]:
        assert model_of(cast("pytest.Item", test)) is expected
