import numpy as np
import pytest

from pytest_llmci.stats.samples import grouped
from pytest_llmci.stats.stored import (
    Witnesses,
    environment_shift,
    history_estimates,
    saved_estimates,
    session_sd,
)

RNG = np.random.default_rng(8)
QUIET = Witnesses(wall_s=[1.1, 1.1], cpu_s=[1.0, 1.0], kernel_s=[2e-3, 2e-3, 2e-3])


def rounds(cells: int, n: int, level: float = 1.0) -> np.ndarray:
    return np.asarray(level * np.exp(RNG.normal(0, 0.02, (cells, n))))


def test_the_session_is_the_floor_of_the_error() -> None:
    found = saved_estimates(grouped(rounds(3, 2000), rounds(3, 2000), interleaved=False), 3, session=0.03, shift=0.0)
    assert found.shared == pytest.approx(np.full(3, 2 * 0.03**2))
    assert found.own.max() < 1e-6
    assert found.across == 1.0
    assert found.pairs.tolist() == [0, 0, 0]


def test_a_shift_of_the_environment_widens_and_is_not_subtracted() -> None:
    sides = grouped(rounds(1, 20), rounds(1, 20, 1.2), interleaved=False)
    with_shift, without = (saved_estimates(sides, 1, session=0.03, shift=shift) for shift in (0.1, 0.0))
    assert with_shift.effect == without.effect == pytest.approx([np.log(1.2)], abs=0.02)
    assert with_shift.shared[0] - without.shared[0] == pytest.approx(0.01)


def test_history_learns_how_much_sessions_differ() -> None:
    candidate = rounds(2, 20)

    def shared(levels: list[float]) -> float:
        sessions = [grouped(rounds(2, 20, level), candidate, interleaved=False) for level in levels]
        return float(history_estimates(sessions, 2, session=0.03, shift=0.0).shared[0])

    assert shared([1.0, 1.4, 0.7, 1.2, 0.8]) > 10 * shared([1.0, 1.01, 0.99, 1.0, 1.0])


def test_history_compares_with_the_median_session() -> None:
    candidate = rounds(1, 20, 1.5)
    sessions = [grouped(rounds(1, 20, level), candidate, interleaved=False) for level in (1.0, 1.0, 9.0)]
    found = history_estimates(sessions, 1, session=0.03, shift=0.0)
    assert found.effect == pytest.approx([np.log(1.5)], abs=0.03)
    assert found.shared_freedom == 5.0


def test_too_few_stored_rounds_are_too_few() -> None:
    found = saved_estimates(grouped(rounds(1, 2), rounds(1, 20), interleaved=False), 1, session=0.03, shift=0.0)
    assert found.enough.tolist() == [False]


def test_priors() -> None:
    assert session_sd("cpu", anchored=False) == session_sd("net", anchored=False) == 0.03
    assert session_sd("wall", anchored=False) == 0.10
    assert session_sd("wall", anchored=True) == session_sd("cpu", anchored=True) == 0.025


def test_no_change_of_the_witnesses_is_no_shift() -> None:
    assert environment_shift(QUIET, QUIET) == 0.0


def test_contention_counts_by_metric() -> None:
    busy = Witnesses(wall_s=[2.2, 2.2], cpu_s=[1.0, 1.0], kernel_s=[2e-3])
    assert environment_shift(QUIET, busy) == pytest.approx(0.15 * np.log(2))
    assert environment_shift(busy, QUIET, metric="wall") == pytest.approx(1.2 * np.log(2))
    assert environment_shift(QUIET, busy, anchored=True) == pytest.approx(0.05 * np.log(2))


def test_a_slower_kernel_counts() -> None:
    slow = Witnesses(wall_s=[1.1], cpu_s=[1.0], kernel_s=[4e-3, 4e-3, 4e-3, 80e-3])
    assert environment_shift(QUIET, slow) == pytest.approx(0.6 * np.log(2))


def test_an_unknown_kernel_is_no_kernel_without_change() -> None:
    unknown = Witnesses(wall_s=[1.1], cpu_s=[1.0])
    assert environment_shift(QUIET, unknown) == environment_shift(unknown, QUIET) == pytest.approx(0.05)


@pytest.mark.parametrize("times", [[], [0.0], [float("nan")]])
def test_impossible_witnesses(times: list[float]) -> None:
    with pytest.raises(ValueError, match="wall_s of the candidate"):
        environment_shift(QUIET, Witnesses(wall_s=times, cpu_s=[1.0]))
