from typing import Any

import numpy as np
import pytest

from pytest_llmci.stats.compare import GateSettings, decide
from pytest_llmci.stats.expected import expected_visible

SETTINGS = GateSettings()


def test_what_is_expected_is_what_a_measurement_of_that_noise_says() -> None:
    rng = np.random.default_rng(4)
    cells, rounds, pairs = 10, 20, 4
    base, candidate = np.ones((cells, rounds)), np.exp(rng.normal(0, 0.032, (cells, rounds)))
    models = ["a"] * 5 + ["b"] * 5
    measured = decide(base, candidate, SETTINGS, models=models, pairs=np.arange(rounds) // 5)
    expected = expected_visible(SETTINGS, cells=cells, rounds=rounds, pairs=pairs, models=2)
    assert expected.cell is not None and expected.total is not None
    assert measured.cells[0].visible == pytest.approx(expected.cell, rel=0.25)
    assert measured.total.visible == pytest.approx(expected.total, rel=0.25)


def test_more_of_anything_shows_more() -> None:
    def cell(rounds: int, pairs: int, cells: int = 4, round_sd: float = 0.032) -> float:
        found = expected_visible(SETTINGS, cells=cells, rounds=rounds, pairs=pairs, round_sd=round_sd).cell
        assert found is not None
        return found

    assert cell(20, 4) < cell(10, 4) < cell(10, 2) < cell(10, 1)
    assert cell(10, 2) < cell(10, 2, cells=50)
    assert cell(10, 2) < cell(10, 2, round_sd=0.10)


def test_modes_from_best_to_worst() -> None:
    def total(settings: GateSettings) -> float:
        found = expected_visible(settings, cells=4, rounds=20, pairs=4, sessions=8).total
        assert found is not None
        return found

    saved = GateSettings(mode="saved")
    interleaved, anchored, history = SETTINGS, GateSettings(mode="anchored"), GateSettings(mode="history")
    wall = GateSettings(mode="saved", metric="wall")
    assert total(interleaved) < total(history) < total(anchored) < total(saved) < total(wall)


def test_an_early_look_sees_less() -> None:
    first, last = (expected_visible(GateSettings(look=look, looks=4), cells=4, rounds=20) for look in (0, 3))
    assert first.cell is not None and last.cell is not None and first.cell > last.cell


def test_two_rounds_show_nothing() -> None:
    found = expected_visible(SETTINGS, cells=4, rounds=2)
    assert (found.cell, found.model, found.total) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cells": 2, "models": 3}, "3 models and 2 cells"),
        ({"pairs": 30}, "30 pairs and 20 rounds"),
        ({"pairs": 0}, "0 pairs"),
        ({"sessions": 0}, "0 sessions"),
    ],
)
def test_impossible_plans(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_visible(SETTINGS, **{"cells": 4, "rounds": 20, **given})


def test_sessions_that_were_measured_to_differ_more_show_less_in_a_history() -> None:
    def cell(mode: Any, between_sd: float | None) -> float:
        found = expected_visible(GateSettings(mode=mode), cells=4, rounds=20, sessions=5, between_sd=between_sd).cell
        assert found is not None
        return found

    assert cell("history", 0.01) < cell("history", None) == cell("history", 0.03) < cell("history", 0.1)
    assert cell("saved", 0.1) == cell("saved", None)


def test_where_blocks_count_what_is_expected_is_what_measurements_of_them_say() -> None:
    rng = np.random.default_rng(5)
    settings, cells, rounds, pairs, process_sd = GateSettings(unit="block"), 4, 40, 8, 0.02
    numbers, measured = np.arange(rounds) // (rounds // pairs), list[float]()
    for _ in range(40):
        of_pairs = rng.normal(0, process_sd * np.sqrt(2), pairs)[numbers]
        candidate = np.exp(rng.normal(0, 0.032, (cells, rounds)) + of_pairs)
        found = decide(np.ones((cells, rounds)), candidate, settings, models=["a"] * cells, pairs=numbers)
        assert found.cells[0].visible is not None
        measured.append(found.cells[0].visible)
    expected = expected_visible(settings, cells=cells, rounds=rounds, pairs=pairs, process_sd=process_sd)
    by_rounds = expected_visible(SETTINGS, cells=cells, rounds=rounds, pairs=pairs, process_sd=process_sd)
    assert expected.cell is not None and by_rounds.cell is not None and expected.model is not None
    assert np.median(measured) == pytest.approx(expected.cell, rel=0.15)
    assert expected.cell > by_rounds.cell
    assert by_rounds.model is not None and expected.model > by_rounds.model


def test_fewer_than_four_blocks_show_nothing_however_many_rounds_they_have() -> None:
    settings = GateSettings(unit="block")
    assert expected_visible(settings, cells=2, rounds=300, pairs=3).cell is None
    assert expected_visible(settings, cells=2, rounds=20, pairs=4).cell is not None
