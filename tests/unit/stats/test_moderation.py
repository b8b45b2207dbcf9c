import numpy as np
import pytest

from pytest_llmci.stats.moderation import moderated


def chance(variances: float | np.ndarray, freedom: int, cells: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.asarray(variances * rng.chisquare(freedom, cells) / freedom)


def test_alike_variances_are_drawn_together() -> None:
    found = chance(4.0, 4, 200)
    after, freedom = moderated(found, np.full(200, 4.0))
    assert freedom == pytest.approx(np.full(200, 64.0))  # the most that others lend, and its own
    assert after.std() < 0.1 * found.std()
    assert after.mean() == pytest.approx(4.0, rel=0.1)


def test_different_variances_stay_apart() -> None:
    true = np.exp(np.random.default_rng(2).normal(0, 2, 400))
    after, freedom = moderated(chance(true, 9, 400), np.full(400, 9.0))
    assert freedom.max() < 11
    assert np.corrcoef(np.log(after), np.log(true))[0, 1] > 0.95


def test_one_cell_that_is_too_calm_by_chance_is_not_believed() -> None:
    found = np.append(chance(1.0, 4, 19), 0.001)
    after, _ = moderated(found, np.full(20, 4.0))
    assert after[-1] > 0.05


def test_two_cells_lend_each_other_nothing() -> None:
    after, freedom = moderated(np.array([1.0, 9.0]), np.array([4.0, 4.0]))
    assert after.tolist() == [1.0, 9.0] and freedom.tolist() == [4.0, 4.0]


def test_below_five_rounds_the_tail_stays_heavy() -> None:
    _, freedom = moderated(np.ones(50), np.full(50, 3.0))
    assert freedom.tolist() == [6.0] * 50
    _, mixed = moderated(np.ones(50), np.array([3.0] * 25 + [9.0] * 25))
    assert set(mixed[:25]) == {6.0} and set(mixed[25:]) == {69.0}


def test_few_cells_lend_little() -> None:
    _, freedom = moderated(np.ones(4), np.full(4, 9.0))
    assert freedom.tolist() == [21.0] * 4


def test_equal_clocks_have_some_variance_left() -> None:
    after, _ = moderated(np.zeros(5), np.full(5, 9.0))
    assert after.min() > 0
