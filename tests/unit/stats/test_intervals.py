from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pytest_llmci.stats.intervals import mean_interval, pareto_front, pearson


def test_one_prompt_is_the_usual_t_interval() -> None:
    values = np.array([1.0, 1.2, 0.9, 1.1, 1.4])
    found = mean_interval(values, np.zeros(5, dtype=np.intp))
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert found.n == 5 and found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(low) and found.high == pytest.approx(high)


def test_what_prompts_differ_by_is_no_uncertainty() -> None:
    rounds = np.array([1.0, 1.1, 0.9])
    near = mean_interval(np.concatenate([rounds, rounds]), np.repeat([0, 1], 3))
    far = mean_interval(np.concatenate([rounds, rounds + 100]), np.repeat([0, 1], 3))
    assert near.low is not None and near.high is not None and far.low is not None and far.high is not None
    assert far.high - far.low == pytest.approx(near.high - near.low)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    parts, true = np.repeat(np.arange(4), 5), np.repeat([1.0, 5.0, 2.0, 9.0], 5)
    held = 0
    for _ in range(2000):
        found = mean_interval(true + rng.normal(size=20), parts)
        assert found.low is not None and found.high is not None
        held += found.low <= true.mean() <= found.high
    assert 0.935 < held / 2000 < 0.965


def test_a_single_round_of_any_prompt_has_no_interval() -> None:
    found = mean_interval(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1]))
    assert (found.mean, found.low, found.high) == (2.0, None, None)


def test_equal_values_have_an_interval_of_no_length_and_unused_parts_do_not_count() -> None:
    found = mean_interval(np.array([2.0, 2.0]), np.array([3, 3]))
    assert (found.low, found.high) == (2.0, 2.0)


def test_pearson_is_numpys_and_missing_with_few_or_constant_columns() -> None:
    one, other = np.array([1.0, 2.0, 4.0, np.nan]), np.array([2.0, 1.0, 9.0, 5.0])
    found = pearson(one, other)
    assert found.n == 3 and found.r == pytest.approx(np.corrcoef(one[:3], other[:3])[0, 1])
    assert pearson(one[:2], other[:2]).r is None
    assert pearson(np.array([0.1 + 0.2, 0.3, 0.3]), np.array([1.0, 2.0, 3.0])).r is None


def test_the_front_is_what_nobody_beats() -> None:
    costs, gains = np.array([3.0, 1.0, 2.0, 2.0, 4.0, 1.0]), np.array([5.0, 1.0, 3.0, 2.0, 5.0, 1.0])
    front = pareto_front(costs, gains)
    assert sorted(front) == [0, 1, 2, 5]  # 3 is beaten by 2, 4 by 0; 1 and 5 are equal
    for place in set(range(6)) - set(front):
        assert any(
            costs[best] <= costs[place]
            and gains[best] >= gains[place]
            and (costs[best], gains[best]) != (costs[place], gains[place])
            for best in front
        )
