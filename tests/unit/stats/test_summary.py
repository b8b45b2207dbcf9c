from __future__ import annotations

import math

import pytest

from pytest_llmci.errors import MeasurementError, MissingValue, UnknownNameError
from pytest_llmci.metrics import STATISTICS
from pytest_llmci.records import Missing
from pytest_llmci.stats.summary import QUANTILE_ROUNDS, summarise


def test_statistics_of_a_small_sample() -> None:
    summary = summarise([4.0, 1.0, 3.0, 2.0])
    assert (summary.n, summary.min, summary.median, summary.mean, summary.max) == (4, 1.0, 2.5, 2.5, 4.0)
    assert summary.std == pytest.approx(math.sqrt(5 / 3))


def test_one_value_has_no_standard_deviation() -> None:
    assert summarise([1.0]).std == Missing("std needs 2 rounds; this cell has 1")


def test_equal_values_have_a_standard_deviation_of_exactly_zero() -> None:
    assert summarise([0.1, 0.1, 0.1]).std == 0.0


@pytest.mark.parametrize("name", ["p90", "p95", "p99"])
def test_quantiles_are_missing_below_their_limit_and_say_why(name: str) -> None:
    below = summarise([1.0] * (QUANTILE_ROUNDS - 1)).get(name)
    assert below == Missing(f"{name} needs 20 rounds; this cell has 19")
    assert summarise([1.0] * QUANTILE_ROUNDS).get(name) == 1.0


def test_quantile_interpolates_between_order_statistics() -> None:
    assert summarise([10.0, 20.0]).quantile(0.25) == 12.5
    assert summarise([10.0, 20.0, 30.0]).quantile(1.0) == 30.0


def test_empty_sample_is_missing_with_the_reason_given() -> None:
    summary = summarise([], reason="no GPU")
    assert summary.n == 0
    for name in STATISTICS[1:]:
        assert summary.get(name) == Missing("no GPU")
    with pytest.raises(MissingValue, match="no GPU"):
        assert summary.median < 1


def test_empty_sample_without_a_reason_says_whose_it_is() -> None:
    assert summarise([], of="this model").mean == Missing("this model has no measured round")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(MeasurementError, match="not finite"):
        summarise([1.0, value])


def test_unknown_statistic_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'median'"):
        summarise([1.0]).get("medain")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([], ("n",)),
        ([2.0], ("n", "min", "median", "mean", "max")),
        ([2.0, 3.0], ("n", "min", "median", "mean", "std", "max")),
        ([float(value) for value in range(20)], STATISTICS),
    ],
)
def test_numbers_are_those_that_the_sample_carries(values: list[float], names: tuple[str, ...]) -> None:
    summary = summarise(values)
    assert summary.numbers() == {name: summary.get(name) for name in names}
    assert tuple(summary.numbers()) == names
