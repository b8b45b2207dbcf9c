from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field

import pytest

from pytest_llmci.quick_records import quickly_made
from pytest_llmci.records import CheckResult


@quickly_made
@dataclass(frozen=True, slots=True)
class Sample:
    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list, kw_only=True)
    fourth: dict[str, int] | None = field(default=None, kw_only=True)


def test_it_takes_what_a_dataclass_takes() -> None:
    assert Sample(1) == Sample(first=1, second="two", third=[], fourth=None)
    made = Sample(1, "x", third=[3], fourth={"a": 1})
    assert (made.first, made.second, made.third, made.fourth) == (1, "x", [3], {"a": 1})
    assert list(inspect.signature(Sample).parameters) == ["first", "second", "third", "fourth"]
    assert repr(made) == "Sample(first=1, second='x', third=[3], fourth={'a': 1})"


@pytest.mark.parametrize(
    ("arguments", "words"), [((), "first"), ((1, "x", [3]), "positional"), ((1, "x", 2, 3), "positional")]
)
def test_it_refuses_what_a_dataclass_refuses(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Sample(*arguments)  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(TypeError, match="unknown"):
        Sample(1, unknown=1)  # type: ignore[call-arg]  # likewise


def test_defaults_that_can_be_changed_are_made_anew() -> None:
    assert Sample(1).third is not Sample(1).third
    given: list[int] = []
    assert Sample(1, third=given).third is given


def test_it_stays_a_frozen_record() -> None:
    made = Sample(1)
    with pytest.raises(FrozenInstanceError):
        made.first = 2  # type: ignore[misc]  # that is what is tested
    assert dataclasses.replace(made, second="y") == Sample(1, "y")
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    assert dataclasses.asdict(made) == {"first": 1, "second": "two", "third": [], "fourth": None}


def test_records_are_made_so() -> None:
    assert CheckResult.__init__.__code__.co_names.count("_set_name") == 1
    result = CheckResult(name="valid", passed=True, message="ok")
    assert (result.judged_by, bool(result)) == ("", True)
