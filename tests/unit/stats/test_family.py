import numpy as np
import pytest

from pytest_llmci.stats.estimates import Estimates, joined_freedom
from pytest_llmci.stats.family import holm, levels


def estimates(
    effect: list[float], *, own: float = 1e-4, shared: float = 1e-4, across: float = 0.25, rounds: int = 10
) -> Estimates:
    count = len(effect)
    return Estimates(
        effect=np.array(effect),
        own=np.full(count, own),
        own_freedom=np.full(count, 20.0),
        unaided_freedom=np.full(count, 9.0),
        shared=np.full(count, shared),
        shared_freedom=10.0,
        lasting=False,
        across=across,
        rounds=np.full(count, rounds),
        pairs=np.full(count, 5),
        enough=np.ones(count, np.bool_),
    )


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])


def test_one_cell_is_one_test() -> None:
    cells, models, total = levels(estimates([0.05]), np.array([0]))
    assert cells.share == models.share == total.share == 1.0
    assert cells.adjusted(0.0, 1.0) == models.adjusted(0.0, 1.0) == total.adjusted(0.0, 1.0)


def test_levels_of_one_model_halve_alpha() -> None:
    cells, models, total = levels(estimates([0.05, 0.01]), np.array([0, 0]))
    assert cells.share == models.share == 0.5
    assert total is models


def test_three_levels_share_alpha() -> None:
    found = levels(estimates([0.05, 0.01, 0.0]), np.array([0, 0, 1]))
    assert sum(level.share for level in found) == pytest.approx(1.0)
    assert found[1].effect == pytest.approx([0.03, 0.0])
    assert found[2].effect == pytest.approx([0.015])


def test_averaging_over_cells_takes_their_own_noise_only() -> None:
    cells, models, total = levels(estimates([0.0] * 20, own=4e-4, shared=1e-4), np.repeat([0, 1], 10))
    assert cells.error**2 == pytest.approx(np.full(20, 5e-4))
    assert models.error**2 == pytest.approx(np.full(2, 0.4e-4 + 1e-4))
    assert total.error**2 == pytest.approx([0.2e-4 + 1e-4 * (0.5 + 0.25 * 0.5)])


def test_what_is_common_to_the_session_never_averages_out() -> None:
    _, _, total = levels(estimates([0.0] * 20, own=1e-12, across=1.0), np.arange(20))
    assert total.error**2 == pytest.approx([1e-4])


def test_a_cell_with_too_few_rounds_is_left_out() -> None:
    some = estimates([0.05, 5.0])
    some.enough[1] = False
    cells, models, total = levels(some, np.array([0, 1]))
    assert cells.adjusted(0.0, 1.0)[1] == models.adjusted(0.0, 1.0)[1] == 1.0
    assert total.effect == pytest.approx([0.05])
    # the family is smaller by that cell
    assert cells.adjusted(0.0, 1.0)[0] < levels(estimates([0.05, 0.0]), np.array([0, 1]))[0].adjusted(0.0, 1.0)[0]


def test_nothing_with_enough_rounds() -> None:
    none = estimates([0.5, 0.5])
    none.enough[:] = False
    for level in levels(none, np.array([0, 1])):
        assert set(level.adjusted(0.0, 1.0)) == {1.0}


def test_visible_is_what_is_found_in_95_of_100_cases() -> None:
    cells, _, _ = levels(estimates([0.0, 0.0, 0.0]), np.array([0, 0, 1]))
    first = cells.visible(0.01, 0.0, 0.0)[0]
    needed, error = cells.quantile(0.01 * 0.5 / 3)[0], cells.error[0]
    rng = np.random.default_rng(3)
    noise = error * rng.standard_t(cells.freedom[0], 20_000)
    assert np.mean(first + noise > needed) == pytest.approx(0.95, abs=0.01)
    assert cells.visible(0.01, 0.0, 1.0)[0] == pytest.approx(1.0 + cells.quantile(0.05)[0])
    assert cells.visible(0.01, 0.03, 0.0)[0] == pytest.approx(first + 0.03)


ONE = np.ones(1)


@pytest.mark.parametrize(
    ("own", "shared", "near_normal", "expected"),
    [
        (1.0, 1e-12, False, 4.0),
        (1e-12, 1.0, False, 12.0),
        (1.0, 1.0, False, 6.0),  # the harmonic mean of 4 and 12
        (1.0, 1.0, True, 12.0),  # Satterthwaite's is also 12
        (2.0, 1.0, True, 9 / (4 / 4 + 1 / 12)),
        (1.0, 2.0, True, 12.0),  # Satterthwaite's 15.4, but not above the better known part
    ],
)
def test_joined_freedom(own: float, shared: float, near_normal: bool, expected: float) -> None:
    found = joined_freedom(own * ONE, 4.0 * ONE, shared * ONE, 12.0, near_normal=np.array([near_normal]))
    assert found == pytest.approx([expected])


@pytest.mark.parametrize(("rounds", "full"), [(4, False), (5, True)])
def test_means_are_near_normal_from_five_rounds(rounds: int, full: bool) -> None:
    cells, models, total = levels(estimates([0.0] * 4, rounds=rounds), np.array([0, 0, 1, 1]))
    harmonic = 2e-4 / (1e-4 / 20 + 1e-4 / 10)
    assert cells.freedom == pytest.approx(np.full(4, harmonic))
    mean = 1.5e-4 / (0.5e-4 / 20 + 1e-4 / 10)
    assert (models.freedom[0] > mean + 1) == full
    assert (total.freedom[0] > 13) == full


def test_the_noise_of_several_cells_is_known_from_all_their_rounds() -> None:
    cells, models, _ = levels(estimates([0.0] * 10, shared=1e-12), np.zeros(10, np.intp))
    assert cells.freedom == pytest.approx(np.full(10, 20.0))
    assert models.freedom == pytest.approx([90.0])
