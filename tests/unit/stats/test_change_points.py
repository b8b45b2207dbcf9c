from __future__ import annotations

import random
import sys

import pytest

from pytest_llmci.errors import MissingExtraError
from pytest_llmci.stats import change_points
from pytest_llmci.stats.change_points import LEAST_POINTS, LEAST_SEGMENT, find_change_points, noise


def series(*levels: tuple[float, int], seed: int = 0, sd: float = 0.01) -> list[float]:
    rng = random.Random(seed)
    return [level * (1 + rng.gauss(0, sd)) for level, count in levels for _ in range(count)]


def test_levels_and_where_they_begin() -> None:
    pytest.importorskip("ruptures")
    found = find_change_points(series((1.0, 10), (1.2, 8), (0.9, 6)))
    assert [change.index for change in found] == [10, 18]
    assert [round(change.change, 2) for change in found] == [
        pytest.approx(0.2, abs=0.02),
        pytest.approx(-0.25, abs=0.02),
    ]


def test_unchanging_series_show_no_change() -> None:
    pytest.importorskip("ruptures")
    assert sum(bool(find_change_points(series((1.0, 20), seed=seed))) for seed in range(60)) <= 2


def test_an_outlier_and_a_level_that_has_not_lasted_are_no_change() -> None:
    pytest.importorskip("ruptures")
    one = series((1.0, 20))
    one[9] = 5.0
    assert find_change_points(one) == []
    assert all(change.index <= 20 - LEAST_SEGMENT for change in find_change_points(series((1.0, 18), (2.0, 2))))


def test_medians_that_repeat_to_the_digit() -> None:
    pytest.importorskip("ruptures")
    assert find_change_points([1.0] * 15) == []
    assert [change.index for change in find_change_points([1.0] * 10 + [1.1] * 8)] == [10]


def test_of_a_long_series_the_newest_points_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ruptures")
    monkeypatch.setattr("pytest_llmci.stats.change_points.MOST_POINTS", 20)
    found = find_change_points(series((3.0, 10), (1.0, 20), (1.3, 8)))
    assert [change.index for change in found] == [30]


def test_noise_is_not_moved_by_a_change_of_level() -> None:
    flat, stepped = series((1.0, 30), seed=3), series((1.0, 15), (1.5, 15), seed=3)
    assert noise(stepped) < 2 * noise(flat)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match=f"11 points: give at least {LEAST_POINTS}"):
        find_change_points([1.0] * 11)
    with pytest.raises(ValueError, match="positive and finite"):
        find_change_points([1.0] * 11 + [0.0])


def test_without_the_library_the_pip_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    monkeypatch.setattr(change_points, "TOO_NEW", (99,))
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-llmci\[history\]'"):
        find_change_points([1.0] * 12)


def test_on_a_python_that_the_library_takes_not_an_older_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    monkeypatch.setattr(change_points, "TOO_NEW", sys.version_info[:2])
    with pytest.raises(MissingExtraError, match=r"takes no Python from 3\.\d+ on: read the runs with an older one"):
        find_change_points([1.0] * 12)
