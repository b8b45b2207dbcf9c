from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.stats.quartiles import quartiles


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_the_same_as_pytest_benchmark(sample: list[float]) -> None:
    theirs = pytest.importorskip("pytest_benchmark.stats").Stats()
    theirs.data = sample
    ours = quartiles(sorted(sample))
    for name, found in (("q1", ours.q1), ("q3", ours.q3), ("iqr", ours.iqr)):
        assert found == pytest.approx(getattr(theirs, name), rel=1e-12, abs=1e-6), name
    assert ours.low <= ours.high
    assert {ours.low, ours.high} <= set(sample)


@pytest.mark.parametrize(
    "sample", [[3.0], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 50.0], [0.0, 10.0, 11.0, 12.0, 12.5, 13.0, 14.0, 99.0]]
)
def test_fences_and_outliers_are_those_of_pytest_benchmark(sample: list[float]) -> None:
    theirs = pytest.importorskip("pytest_benchmark.stats").Stats()
    theirs.data = sample
    ours = quartiles(sample)
    assert (ours.low, ours.high, ours.outliers) == (theirs.ld15iqr, theirs.hd15iqr, theirs.iqr_outliers)
