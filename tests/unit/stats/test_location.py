import math

import numpy as np
import pytest

from pytest_llmci.stats.location import (
    agreement_needed,
    hodges_lehmann,
    locate,
    median_absolute_deviation,
    p_above_zero,
    residual_variance,
    robust_location,
    row_median,
)


def test_hodges_lehmann_is_the_median_of_pairwise_means() -> None:
    # pairs of 1, 2, 9 with themselves: 1, 1.5, 2, 5, 5.5, 9
    assert hodges_lehmann(np.array([1.0, 2.0, 9.0])) == pytest.approx(3.5)
    assert hodges_lehmann(np.array([[1.0, 2.0, 9.0], [4.0, 4.0, 4.0]])) == pytest.approx([3.5, 4.0])


@pytest.mark.parametrize("shape", [(1,), (4,), (5,), (3, 1), (3, 8), (3, 9), (2, 2, 6)])
def test_row_median_is_numpys(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).normal(size=shape)
    assert np.array_equal(row_median(values), np.median(values, axis=-1))


def test_location_is_the_median_below_five_values() -> None:
    assert robust_location(np.array([1.0, 1.1, 9.0, 1.2])) == pytest.approx(1.15)
    five = np.array([1.0, 1.1, 9.0, 1.2, 1.3])
    assert robust_location(five) == pytest.approx(float(hodges_lehmann(five)))


def test_scale_estimates_the_standard_deviation_of_normal_noise() -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, (2000, 20))
    assert np.mean(median_absolute_deviation(noise)) == pytest.approx(0.2, rel=0.06)
    assert np.mean(residual_variance(noise, np.zeros(2000))) == pytest.approx(0.04 * 20 / 19, rel=0.05)


def test_winsorising_bounds_an_outlier() -> None:
    calm = [0.10, 0.12, 0.08, 0.11, 0.09, 0.10, 0.11]
    near, far = locate([*calm, 5.0]), locate([*calm, 5000.0])
    assert near.robust_standard_error is not None
    assert near.robust_standard_error == far.robust_standard_error
    assert far.standard_error > 100 * near.standard_error


def test_standard_error_as_documented() -> None:
    sample = [0.0, 0.1, 0.2, 0.3, 0.4]
    assert locate(sample).standard_error == pytest.approx(math.sqrt((1.10 + 2 / 5) * 0.025 / 5))
    assert locate(sample[:3]).standard_error == pytest.approx(math.sqrt((1.57 + 2 / 3) * 0.01 / 3))


def test_equal_values_keep_a_least_standard_error() -> None:
    found = locate([0.5] * 5)
    assert found.standard_error > 0
    assert found.robust_standard_error is None, "the MAD of ties is no scale"


def test_p_value_is_that_of_a_t_test() -> None:
    from scipy.special import stdtr

    sample = [0.10, 0.30, 0.20]
    found = locate(sample)
    assert p_above_zero(found) == pytest.approx(float(stdtr(2, -0.2 / found.standard_error)))


def test_winsorised_residuals_have_half_the_degrees_of_freedom() -> None:
    from scipy.special import stdtr

    found = locate([0.20, 0.21, 0.19, 0.22, 0.18, 9.0])
    assert found.robust_standard_error is not None
    expected = float(stdtr(2.5, -found.estimate / found.robust_standard_error))
    assert p_above_zero(found) == pytest.approx(expected)


def test_two_values_prove_nothing() -> None:
    assert p_above_zero(locate([5.0, 5.0])) == 1.0


def test_most_values_must_agree() -> None:
    agreeing = [1.0] * 9 + [-0.001]
    dissenting = [1.0] * 7 + [-0.001] * 3
    assert p_above_zero(locate(agreeing)) < 0.05
    assert p_above_zero(locate(dissenting)) == 1.0
    assert agreement_needed(4) == 4


def test_one_outlier_hardly_matters_from_ten_values_on() -> None:
    calm = list(0.2 + np.random.default_rng(2).normal(0, 0.02, 9))
    assert p_above_zero(locate([*calm, -3.0])) < 1e-3
    assert p_above_zero(locate([*calm, 3.0])) < 1e-3
