import re

import numpy as np
import pytest

from pytest_llmci.stats.samples import grouped


def test_a_rectangle_is_one_group_of_logarithms() -> None:
    (group,) = grouped(np.full((2, 3), 2.0), np.full((2, 3), 4.0), [7, 9, 7], interleaved=True)
    assert group.candidate - group.base == pytest.approx(np.full((2, 3), np.log(2)))
    assert group.pairs.tolist() == [0, 1, 0] and group.pair_count == 2
    assert group.cells.tolist() == [0, 1]


def test_cells_that_stopped_early_form_a_group_of_their_own() -> None:
    base = [[1.0] * 5, [1.0] * 10, [1.0] * 5]
    groups = grouped(base, base, [[0] * 5, [0] * 5 + [1] * 5, [0] * 5], interleaved=True)
    assert [group.cells.tolist() for group in groups] == [[0, 2], [1]]
    assert [group.pair_count for group in groups] == [1, 2]


def test_cells_of_other_pairs_form_a_group_of_their_own() -> None:
    base = [[1.0] * 4, [1.0] * 4]
    groups = grouped(base, base, [[0, 0, 1, 1], [0, 1, 2, 3]], interleaved=True)
    assert [group.pair_count for group in groups] == [2, 4]


def test_stored_sides_may_differ_in_rounds() -> None:
    (group,) = grouped([[1.0] * 20], [[1.0] * 5], interleaved=False)
    assert group.base.shape == (1, 20) and group.candidate.shape == (1, 5)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["base", "candidate"])
@pytest.mark.parametrize("as_array", [True, False])
def test_an_impossible_value_is_named_with_cell_and_round(value: float, side: str, as_array: bool) -> None:
    good, bad = [[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, value]]
    base, candidate = (bad, good) if side == "base" else (good, bad)
    sides = (np.array(base), np.array(candidate)) if as_array else (base, candidate)
    with pytest.raises(
        ValueError, match=f"{side}, round 2 of tiny-hello is {value:g}: values must be positive and finite"
    ):
        grouped(sides[0], sides[1], names=["tiny-plan", "tiny-hello"], interleaved=True)


def test_the_first_of_a_late_group_is_named_by_its_position() -> None:
    with pytest.raises(ValueError, match=re.escape("candidate, round 1 of cell 1 is nan")):
        grouped([[1.0], [1.0, 1.0]], [[1.0], [float("nan"), 1.0]], interleaved=True)


@pytest.mark.parametrize(
    ("base", "candidate", "pairs", "message"),
    [
        ([[1.0]], [[1.0], [1.0]], None, "base has 1 cells and candidate 2"),
        ([], [], None, "no cells: nothing to compare"),
        ([[1.0, 1.0]], [[1.0]], None, "cell 0 has 2 rounds of the base and 1 of the candidate"),
        ([[]], [[]], None, "base of cell 0 has no rounds"),
        ([[1.0, 1.0]], [[1.0, 1.0]], [0], "cell 0 has 2 rounds and 1 pair numbers"),
        ([[1.0], [1.0]], [[1.0], [1.0]], [[0]], "2 cells and 1 sequences of pair numbers"),
    ],
)
def test_sides_that_do_not_fit(
    base: list[list[float]], candidate: list[list[float]], pairs: list[int] | list[list[int]] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        grouped(base, candidate, pairs, interleaved=True)


def test_an_array_of_one_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("give [cells, rounds]")):
        grouped(np.ones(3), np.ones(3), interleaved=True)
