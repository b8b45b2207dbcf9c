"""The arithmetic and the order that all benchmarks share."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture
def pairs(benchmark_module: ModuleType) -> ModuleType:
    return benchmark_module


def test_sides_take_turns_forwards_and_backwards_and_the_first_round_does_not_count(pairs: ModuleType) -> None:
    order: list[str] = []

    def side(name: str) -> int:
        order.append(name)
        return len(order)

    found = pairs.in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert found == {"a": [3, 6, 7], "b": [4, 5, 8]}
    order.clear()
    pairs.in_turn({"a": lambda: side("a"), "b": lambda: side("b")}, 2, warm=True)
    assert "".join(order) == "ab" + "ba"


def test_a_ratio_is_the_median_of_the_rounds_ratios(pairs: ModuleType) -> None:
    seen = pairs.paired_ratio([1.1, 2.4, 3.3], [1.0, 2.0, 3.0])  # that of the medians would be 1.2
    assert seen.median == pytest.approx(1.1)
    assert seen.low == pytest.approx(1.1)
    assert seen.high == pytest.approx(1.2)


def test_rounds_without_their_pair_are_refused(pairs: ModuleType) -> None:
    with pytest.raises(ValueError, match="longer"):
        pairs.paired_ratio([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(1.2, 1.3, True), (1.19, 1.2, True), (1.31, 1.4, False), (1.0, 1.09, False)]
)
def test_intervals_overlap_where_they_have_a_value_in_common(
    pairs: ModuleType, low: float, high: float, *, expected: bool
) -> None:
    given = pairs.Ratio(median=1.2, low=1.1, high=1.3)
    assert given.overlaps(pairs.Ratio(median=(low + high) / 2, low=low, high=high)) is expected


def test_a_target_is_met_up_to_its_limit(pairs: ModuleType) -> None:
    assert pairs.judged("ratio", 1.03, 1.03, "x")[1]
    line, met = pairs.judged("ratio", 1.031, 1.03, "x")
    assert not met
    assert "1.031 x" in line
    assert "MISSED" in line


def test_a_target_from_below_is_met_down_to_its_limit(pairs: ModuleType) -> None:
    assert pairs.judged("speed-up", 1.9, 1.9, "x", at_least=True)[1]
    line, met = pairs.judged("speed-up", 1.89, 1.9, "x", at_least=True)
    assert not met
    assert "target >= 1.9 x" in line


def test_a_missed_target_fails_the_script_only_where_it_is_to_check(pairs: ModuleType) -> None:
    targets = pairs.Targets()
    targets.judge("good", 1, 2, "ms")
    assert targets.status(check=True) == 0
    targets.judge_true("bad", met=False)
    assert targets.status(check=True) == 1
    assert targets.status(check=False) == 0


def test_noise_as_large_as_the_target_decides_nothing(pairs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def ratio(median: float, half: float) -> object:
        return pairs.Ratio(median=median, low=median - half, high=median + half)

    targets = pairs.Targets()
    targets.judge_ratio("quiet", ratio(1.004, 0.001), ratio(1.0, 0.002), 1.0)
    assert targets.status(check=True) == 0
    targets.judge_ratio("loud", ratio(1.5, 0.001), ratio(1.0, 0.02), 1.0)
    assert targets.status(check=True) == 2
    targets.judge_ratio("slow", ratio(0.98, 0.001), ratio(1.0, 0.002), 1.0)
    assert targets.status(check=True) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "met" in lines[0]
    assert "NOT JUDGED" in lines[1]
    assert "2.0 %" in lines[1]
    assert "MISSED" in lines[2]
