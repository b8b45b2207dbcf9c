from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from pytest_llmci.engine.marker_values import MarkerValues
from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.plugin.fixtures import MARKER_HELP
from pytest_llmci.plugin.marks import NO_VALUES, read_markers


def mark(*args: Any, **kwargs: Any) -> pytest.Mark:
    return pytest.mark.llmci(*args, **kwargs).mark if args or kwargs else pytest.mark.llmci.mark


def test_without_a_marker_nothing_is_asked_for() -> None:
    assert read_markers([]) is NO_VALUES
    assert read_markers([mark()]) == MarkerValues()


def test_every_keyword_is_read() -> None:
    found = read_markers([
        mark(
            models="tiny", prompts=["a.yaml", "paper"], rounds=3, max_rounds=9, warmup=0, max_new_tokens=7, seed=0, budgets="latency <= 1s",
            checks=("json",), samples=20, min_pass_rate=1, temperature=0.7, timed=False,
        )
    ])  # fmt: skip
    assert found == MarkerValues(
        models=("tiny",), prompts=("a.yaml", "paper"), rounds=3, max_rounds=9, warmup=0, max_new_tokens=7, seed=0, budgets=("latency <= 1s",),
        checks=("json",), samples=20, min_pass_rate=1.0, temperature=0.7, timed=False,
    )  # fmt: skip


def test_the_closest_marker_wins_and_budgets_add_up() -> None:
    found = read_markers([mark(rounds=1, budgets=["a", "b"]), mark(rounds=2, warmup=5, budgets=["b", "c"])])
    assert (found.rounds, found.warmup, found.budgets) == (1, 5, ("a", "b", "c"))


def test_no_checks_differs_from_none_said() -> None:
    assert read_markers([mark(checks=[])]).checks == ()
    assert read_markers([mark(rounds=1)]).checks is None


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"rounds": "5"}, "rounds='5' must be whole number"),
        ({"rounds": True}, "rounds=True must be whole number"),
        ({"rounds": 0}, "rounds=0 must be at least 1"),
        ({"max_rounds": -1}, "max_rounds=-1 must be at least 1"),
        ({"warmup": -1}, "warmup=-1 must be at least 0"),
        ({"samples": 0}, "samples=0 must be at least 1"),
        ({"samples": 10_001}, "samples=10001 must be at most 10,000"),
        ({"samples": 2.0}, "samples=2.0 must be whole number"),
        ({"min_pass_rate": 0}, "min_pass_rate=0 must be number over 0 and up to 1"),
        ({"min_pass_rate": 80}, "min_pass_rate=80 must be number over 0 and up to 1"),
        ({"min_pass_rate": "0.8"}, "min_pass_rate='0.8' must be number over 0 and up to 1"),
        ({"temperature": -1}, "temperature=-1 must be number from 0"),
        ({"temperature": True}, "temperature=True must be number from 0"),
        ({"temperature": float("inf")}, "temperature=inf must be number from 0"),
        ({"seed": 1.5}, "seed=1.5 must be whole number"),
        ({"timed": 1}, "timed=1 must be True or False"),
        ({"models": []}, r"models=\[\] must be text or list of texts"),
        ({"prompts": [1]}, r"prompts=\[1\] must be text or list of texts"),
        ({"budgets": {"a": 1}}, "budgets=.* must be text or list of texts"),
        ({"checks": None}, "checks: expected a check, found nothing"),
    ],
)
def test_a_value_of_another_kind_is_refused(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"marker llmci: {message}"):
        read_markers([mark(**kwargs)])


def test_a_misspelt_keyword_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="marker llmci: unknown keyword 'round'. Did you mean 'rounds'"):
        read_markers([mark(round=5)])


def test_a_value_without_a_keyword_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"marker llmci: 5 has no keyword; write llmci\(rounds=5\)"):
        read_markers([mark(5)])


def test_the_help_names_every_keyword() -> None:
    for field in fields(MarkerValues):
        assert f"{field.name}=" in MARKER_HELP
