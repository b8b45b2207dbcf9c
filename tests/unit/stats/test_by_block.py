"""A block as the unit: servers whose speed changes from block to block give no false alarm, and real changes are found."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_llmci.stats.by_block import LEAST_BLOCK_SD, LEAST_BLOCKS, block_estimates
from pytest_llmci.stats.compare import GateSettings, Unit, decide
from pytest_llmci.stats.samples import grouped

ROUNDS = 5
"""In a block."""


def failed(
    unit: Unit, *, blocks: int, spread: float, cells: int = 1, change: float = 0.0, sessions: int = 200
) -> float:
    """Share of sessions that fail where each block has an offset of its own, common to all cells."""
    random = np.random.default_rng(11)
    alarms = 0
    for _ in range(sessions):
        offset = np.repeat(random.normal(0, spread, blocks), ROUNDS) + change
        values = np.exp(random.normal(0, 0.03, (cells, blocks * ROUNDS)) + offset)
        alarms += any(_look(values, unit, look, blocks) == "regressed" for look in range(blocks))
    return alarms / sessions


def _look(values: np.ndarray, unit: Unit, look: int, blocks: int) -> str:
    so_far = (look + 1) * ROUNDS
    settings = GateSettings(unit=unit, look=look, looks=blocks, last=look == blocks - 1)
    pairs = [int(number) for number in np.arange(so_far) // ROUNDS]
    return decide(np.ones((len(values), so_far)), values[:, :so_far], settings, pairs=pairs).verdict


@pytest.mark.parametrize("cells", [1, 4])
@pytest.mark.parametrize("blocks", [4, 8])
def test_blocks_of_different_speed_are_no_regression(cells: int, blocks: int) -> None:
    assert failed("block", blocks=blocks, spread=0.2, cells=cells) <= 0.015
    assert failed("round", blocks=blocks, spread=0.2, cells=cells, sessions=60) > 0.2  # what it is there for


def test_a_change_is_found_where_blocks_agree() -> None:
    assert failed("block", blocks=4, spread=0.02, change=0.18) > 0.9
    assert failed("block", blocks=8, spread=0.02, change=0.095) > 0.9


def test_fewer_blocks_decide_nothing_however_many_rounds_they_have() -> None:
    values = np.exp(np.random.default_rng(3).normal(0.5, 0.01, (1, 60)))
    found = decide(np.ones((1, 60)), values, GateSettings(unit="block"), pairs=[number // 20 for number in range(60)])
    (cell,) = found.cells
    assert (cell.verdict, cell.visible, cell.rounds, cell.pairs) == ("inconclusive", None, 60, 3)
    assert cell.note == "3 blocks: fewer than 4 decide nothing"
    assert decide(np.ones((1, 60)), values, GateSettings()).verdict == "regressed"


def test_the_error_is_what_blocks_differ_by() -> None:
    """Rounds shrink nothing; a cell has no error of its own."""
    offsets = np.array([0.1, -0.1, 0.2, -0.2])
    groups = grouped(
        np.ones((2, 20)), np.exp(np.tile(np.repeat(offsets, ROUNDS), (2, 1))), np.arange(20) // ROUNDS, interleaved=True
    )
    found = block_estimates(groups, 2)
    assert found.effect == pytest.approx([0.0, 0.0])
    assert found.shared == pytest.approx(np.full(2, offsets.var(ddof=1) / 4))
    assert found.shared_freedom == 3.0
    assert found.own.max() < 1e-9


def test_blocks_that_agree_by_chance_are_not_believed() -> None:
    groups = grouped(np.ones((1, 20)), np.full((1, 20), 1.01), np.arange(20) // ROUNDS, interleaved=True)
    assert block_estimates(groups, 1).shared == pytest.approx([LEAST_BLOCK_SD**2 / LEAST_BLOCKS])


def test_cells_with_different_numbers_of_blocks_share_the_lesser_freedom() -> None:
    base = [[1.0] * 20, [1.0] * 40, [1.0] * 5]
    pairs = [[number // ROUNDS for number in range(len(row))] for row in base]
    found = block_estimates(grouped(base, base, pairs, interleaved=True), 3)
    assert found.shared_freedom == 3.0
    assert found.enough.tolist() == [True, True, False]
    assert found.pairs.tolist() == [4, 8, 1]


def test_stored_numbers_have_no_blocks() -> None:
    with pytest.raises(ValueError, match="unit='block' with mode='saved'"):
        GateSettings(unit="block", mode="saved")
