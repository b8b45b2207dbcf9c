from __future__ import annotations

import math
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from pytest_llmci.errors import MissingValue
from pytest_llmci.records import (
    Missing,
)


def test_a_missing_number_is_falsy_and_shown_as_such() -> None:
    missing = Missing("no streaming")
    assert not missing
    assert f"{missing} {missing:.3f}" == "n/a n/a"
    assert missing == Missing("no streaming") != Missing("other")
    assert len({missing, Missing("no streaming"), Missing("other")}) == 2
    assert missing != "no streaming" and missing is not None


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
def test_any_comparison_fails_with_the_reason(compare: Callable[[Any, Any], bool]) -> None:
    for one, other in [(Missing("no streaming"), 1.0), (1, Missing("no streaming"))]:
        with pytest.raises(MissingValue, match="^no streaming$"):
            compare(one, other)


@pytest.mark.parametrize(
    "use",
    [
        operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
        lambda left, right: operator.add(right, left), lambda left, right: operator.sub(right, left),
        lambda left, right: operator.mul(right, left), lambda left, right: operator.truediv(right, left),
        lambda left, right: operator.floordiv(right, left), lambda left, right: operator.mod(right, left),
        lambda left, right: operator.pow(right, left),
        lambda left, right: -left, lambda left, right: +left, lambda left, right: abs(left), lambda left, right: float(left),
        lambda left, right: int(left), lambda left, right: round(left), lambda left, right: round(left, 2),
        lambda left, right: math.floor(left), lambda left, right: sum([1, left]), lambda left, right: max(1, left),
        divmod,
    ],
)  # fmt: skip
def test_any_arithmetic_fails_with_the_reason(use: Callable[[Any, Any], object]) -> None:
    with pytest.raises(MissingValue, match="^no streaming$"):
        use(Missing("no streaming"), 2)


@pytest.mark.parametrize("compare", [operator.eq, operator.ne])
@pytest.mark.parametrize("number", [0, True, Decimal(1), pytest.approx(0)])
def test_equality_with_any_kind_of_number_fails_with_the_reason(
    compare: Callable[[Any, Any], bool], number: object
) -> None:
    for one, other in [(Missing("no streaming"), number), (number, Missing("no streaming"))]:
        with pytest.raises(MissingValue, match="^no streaming$"):
            compare(one, other)
