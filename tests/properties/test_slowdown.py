"""A change of an answer's time, split into its parts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.engine.comparisons.cell_samples import CellSamples
from pytest_llmci.engine.comparisons.slowdown import Slowdown, slowdown
from pytest_llmci.records import Missing

_TIME = st.floats(1e-6, 100.0)
_ROUND = st.tuples(_TIME, _TIME, st.floats(0.0, 10.0), st.integers(2, 4000), st.floats(0.001, 1.0))
_SIDE = st.lists(_ROUND, min_size=1, max_size=8)
_OPTIONAL = ("return_tail", "output_tokens", "net_time", "steal")


def side(rounds: list[tuple[float, float, float, int, float]], lacking: frozenset[str] = frozenset()) -> CellSamples:
    values = {
        "latency": [first + further for first, further, _, _, _ in rounds],
        "ttft": [first for first, _, _, _, _ in rounds],
        "return_tail": [tail for _, _, tail, _, _ in rounds],
        "output_tokens": [float(tokens) for _, _, _, tokens, _ in rounds],
        "net_time": [(first + further + tail) * share for first, further, tail, _, share in rounds],
        "steal": [0.0 for _ in rounds],
    }
    return CellSamples(
        values={name: column for name, column in values.items() if name not in lacking},
        reasons={name: f"no {name} here" for name in lacking},
    )


def total(found: Slowdown) -> float:
    known = [float(part.change) for part in found.parts if not isinstance(part.change, Missing)]
    return math.fsum([*known, found.untold or 0.0])


@given(_SIDE, _SIDE, st.sets(st.sampled_from(("ttft", *_OPTIONAL))))
def test_the_parts_add_up_to_the_whole_whatever_is_missing(
    base: list[tuple[float, float, float, int, float]],
    now: list[tuple[float, float, float, int, float]],
    lacking: set[str],
) -> None:
    """The parts, and what is not told apart, are together the change of the mean time of a call."""
    if "ttft" in lacking or "return_tail" in lacking:
        lacking |= {"ttft", "return_tail"}
    found = slowdown(side(base, frozenset(lacking)), side(now, frozenset(lacking)))
    assert isinstance(found, Slowdown)
    assert total(found) == pytest.approx(found.change, abs=1e-9 * max(found.before, found.now))


@given(_SIDE, _SIDE)
def test_the_other_way_round_every_part_changes_its_sign(
    base: list[tuple[float, float, float, int, float]], now: list[tuple[float, float, float, int, float]]
) -> None:
    """Swapping the sides negates each part: no order of the factors is preferred."""
    there, back = slowdown(side(base), side(now)), slowdown(side(now), side(base))
    assert isinstance(there, Slowdown) and isinstance(back, Slowdown)
    for one, other in zip(there.parts, back.parts, strict=True):
        assert float(one.change) == pytest.approx(-float(other.change), abs=1e-9 * max(there.before, there.now))


@given(_SIDE)
def test_nothing_changed_is_nothing_in_every_part(rounds: list[tuple[float, float, float, int, float]]) -> None:
    """Equal sides have no change, in whole and in each part."""
    found = slowdown(side(rounds), side(rounds))
    assert isinstance(found, Slowdown)
    assert [float(part.change) for part in found.parts] == [0.0] * 5 and found.change == 0.0
