import numpy as np
import pytest

from pytest_llmci.stats.estimates import Estimates
from pytest_llmci.stats.interleaved import PROCESS_SD, interleaved_estimates
from pytest_llmci.stats.samples import grouped

PRIOR = 2 * PROCESS_SD**2


def estimate(differences: np.ndarray, pairs: list[int] | np.ndarray | None = None) -> Estimates:
    base = np.ones(differences.shape)
    numbers = None if pairs is None else list(pairs)
    return interleaved_estimates(grouped(base, np.exp(differences), numbers, interleaved=True), len(differences))


def noise(cells: int, rounds: int, sd: float = 0.03) -> np.ndarray:
    return np.random.default_rng(5).normal(0, sd, (cells, rounds))


def test_one_pair_has_nothing_but_the_prior() -> None:
    found = estimate(noise(4, 20))
    assert found.shared == pytest.approx(np.full(4, PRIOR))
    assert found.shared_freedom == 6.0
    assert found.pairs.tolist() == [1] * 4


def test_more_pairs_average_the_process_out() -> None:
    found = estimate(noise(4, 20), np.arange(20) // 5)
    assert 0.5 * PRIOR / 4 <= found.shared[0] <= PRIOR / 4
    assert found.shared_freedom == 9.0


def test_processes_that_differ_are_seen() -> None:
    offset = np.repeat([0.06, -0.06, 0.05, -0.05], 5)
    calm, wild = estimate(noise(4, 20), np.arange(20) // 5), estimate(noise(4, 20) + offset, np.arange(20) // 5)
    assert wild.shared[0] > 4 * calm.shared[0]


def test_one_stall_does_not_look_like_a_process() -> None:
    stalled = noise(4, 20)
    stalled[:, 3] += 3.0
    found, calm = estimate(stalled, np.arange(20) // 5), estimate(noise(4, 20), np.arange(20) // 5)
    assert found.shared[0] < 1.5 * calm.shared[0]


def test_more_rounds_shrink_the_own_part_only() -> None:
    few, many = estimate(noise(10, 10)), estimate(noise(10, 40))
    assert many.own.mean() < 0.4 * few.own.mean()
    assert many.shared[0] == few.shared[0]


def test_own_error_covers_the_truth() -> None:
    """The squared errors of the estimates are what they say, within a tenth."""
    found = estimate(noise(4000, 10))
    assert found.effect.var() == pytest.approx(found.own.mean(), rel=0.25)
    assert found.effect.var() < found.own.mean()


def test_a_stall_has_a_bounded_influence_on_the_error() -> None:
    stalled = noise(10, 10)
    stalled[:, 0] = 50.0
    assert estimate(stalled).own.mean() < 3 * estimate(noise(10, 10)).own.mean()


def test_cells_with_too_few_rounds_are_marked_and_do_not_disturb() -> None:
    base = [[1.0] * 10, [1.0] * 2]
    candidate = [list(np.exp(noise(1, 10)[0])), [1.0, 100.0]]
    found = interleaved_estimates(grouped(base, candidate, interleaved=True), 2)
    alone = interleaved_estimates(grouped(base[:1], candidate[:1], interleaved=True), 1)
    assert found.enough.tolist() == [True, False]
    assert found.own[0] == pytest.approx(alone.own[0])
    assert found.rounds.tolist() == [10, 2]


def test_nor_does_a_stall_where_each_pair_has_two_rounds() -> None:
    stalled = noise(4, 10)
    stalled[:, 3] += 3.0
    assert estimate(stalled, np.arange(10) // 2).shared[0] < 0.001


def test_rounds_that_tie_do_not_hide_the_noise_of_the_others() -> None:
    """Most differences are equal, as a coarse clock makes them: their MAD is zero, their noise is not."""
    tied = np.array([0.0] * 6 + [0.03, -0.03, 0.02, -0.02])
    found = estimate(np.stack([noise(1, 10)[0], tied]))
    assert found.own[1] > 0.1 * found.own[0]
