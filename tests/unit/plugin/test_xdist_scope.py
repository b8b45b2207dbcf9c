from __future__ import annotations

import pytest

from pytest_llmci.plugin.xdist import model_scope

ALIASES = ["tiny-chat", "tiny"]


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("inference::tiny-tcp", "model tiny"),
        ("inference::tiny-chat-tcp", "model tiny-chat"),
        ("test_a.py::test_x[tiny]", "model tiny"),
        ("test_a.py::test_x[tiny-tcp]", "model tiny"),
        ("test_b.py::TestC::test_x[tiny-tcp]", "model tiny"),
        ("test_a.py::test_x[1-tiny-tcp]", "model tiny"),
        ("test_a.py::test_x[tcp-tiny]", "model tiny"),
        ("test_a.py::test_x[tiny-chat]", "model tiny-chat"),
        ("test_a.py::test_x[destiny]", "test_a.py::test_x"),
        ("test_a.py::test_x[tinyish-1]", "test_a.py::test_x"),
        ("test_a.py::test_x[other-1]", "test_a.py::test_x"),
        ("test_a.py::test_tiny", "test_a.py::test_tiny"),
        ("test_a.py::test_x", "test_a.py::test_x"),
    ],
)
def test_a_model_is_one_work_unit(nodeid: str, scope: str) -> None:
    assert model_scope(nodeid, ALIASES) == scope


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("inference::ab-about-tiny", "model ab"),
        ("test_a.py::test_x[ab-z-tiny]", "model ab"),
        ("test_a.py::test_x[tiny-ab-1]", "model tiny"),
        ("test_a.py::test_x[ab-tiny-chat]", "model ab"),
        ("test_a.py::test_x[1-tiny-chat-ab]", "model tiny-chat"),
    ],
)
def test_the_model_comes_first_in_an_id(nodeid: str, scope: str) -> None:
    assert model_scope(nodeid, ["ab", "tiny", "tiny-chat"]) == scope


def test_without_models_every_test_is_its_own_unit_and_parameters_stay_together() -> None:
    assert model_scope("a.py::test_x[1]", []) == model_scope("a.py::test_x[2]", []) == "a.py::test_x"
    assert model_scope("a.py::test_y", []) == "a.py::test_y"


def test_thousands_of_models_cost_no_more_than_two() -> None:
    class Asked(frozenset[str]):
        """Counts how often it is looked into."""

        times = 0

        def __contains__(self, alias: object) -> bool:
            Asked.times += 1
            return super().__contains__(alias)

    aliases = Asked(f"m-{number}" for number in range(5000))
    assert model_scope("inference::m-4711-tcp-udp", aliases) == "model m-4711"
    assert Asked.times < 20
