"""A process that is a microsecond slower than its twin: much of a short call, nothing of a long one."""

import math

import numpy as np
import pytest

from pytest_llmci.stats.compare import PROCESS_TIME_SD_S, GateSettings, decide

ROUNDS = 5


def one_pair(seconds: float, later: float, settings: GateSettings) -> str:
    noise = np.random.default_rng(3).normal(1.0, 0.002, (2, 1, ROUNDS))
    return decide(seconds * noise[0], (seconds + later) * noise[1], settings).verdict


@pytest.mark.parametrize("mode", ["interleaved", "saved"])
def test_a_microsecond_of_four_is_no_regression_and_a_quarter_of_a_second_is(mode: str) -> None:
    settings = GateSettings(mode=mode, value_sd=PROCESS_TIME_SD_S)  # type: ignore[arg-type]  # one of two
    assert one_pair(4e-6, 1e-6, settings) == "inconclusive"
    assert one_pair(4e-6, 1e-6, GateSettings(mode=mode)) == "regressed"  # type: ignore[arg-type]  # one of two
    assert one_pair(1.0, 0.25, settings) == "regressed"


def test_what_became_many_times_as_slow_fails_however_short_it_is() -> None:
    assert one_pair(4e-6, 40e-6, GateSettings(value_sd=PROCESS_TIME_SD_S)) == "regressed"


def test_of_a_millisecond_it_is_next_to_nothing() -> None:
    base = np.full((1, ROUNDS), 1e-3) * np.random.default_rng(1).normal(1.0, 0.01, (1, ROUNDS))
    without, beside = (
        decide(base, base[:, ::-1], GateSettings(value_sd=sd)).cells[0].visible for sd in (0.0, PROCESS_TIME_SD_S)
    )
    assert without is not None and beside is not None and without < beside < 1.02 * without


def test_further_pairs_average_it_out() -> None:
    rows = np.full((1, 4), 4e-6) * np.random.default_rng(2).normal(1.0, 0.001, (1, 4))
    one, four = (
        decide(rows, rows[:, ::-1], GateSettings(value_sd=PROCESS_TIME_SD_S), pairs=pairs).cells[0].visible
        for pairs in ([0, 0, 0, 0], [0, 1, 2, 3])
    )
    assert one is not None and four is not None and four < one


@pytest.mark.parametrize("wrong", [-1.0, math.inf, math.nan])
def test_it_is_a_finite_number(wrong: float) -> None:
    with pytest.raises(ValueError, match="value_sd=.*at least 0, in the unit of the values"):
        GateSettings(value_sd=wrong)
