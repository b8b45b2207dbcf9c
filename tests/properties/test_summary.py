from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.records import Missing
from pytest_llmci.stats.summary import summarise

SAMPLES = st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=60)


@given(SAMPLES)
def test_agrees_with_numpy(values: list[float]) -> None:
    """Median and quantiles are those of numpy by linear interpolation, mean and std agree to rounding."""
    numpy = pytest.importorskip("numpy")
    summary = summarise(values)
    assert summary.median == pytest.approx(float(numpy.median(values)), rel=1e-12, abs=1e-9)
    assert summary.mean == pytest.approx(float(numpy.mean(values)), rel=1e-9, abs=1e-3)
    for share in (0.0, 0.1, 0.9, 0.95, 0.99, 1.0):
        assert summary.quantile(share) == pytest.approx(float(numpy.quantile(values, share)), rel=1e-12, abs=1e-9)
    if len(values) > 1:
        assert summary.std == pytest.approx(float(numpy.std(values, ddof=1)), rel=1e-6, abs=1e-3)


@given(SAMPLES)
def test_statistics_lie_between_the_extremes(values: list[float]) -> None:
    """min <= median, mean, quantiles <= max, whatever the rounding."""
    summary = summarise(values)
    least, greatest = min(values), max(values)
    for name in ("median", "mean", "p90", "p95", "p99"):
        value = summary.get(name)
        assert isinstance(value, Missing) or least <= value <= greatest


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30).flatmap(
        lambda v: st.tuples(st.just(v), st.permutations(v))
    )
)
def test_order_plays_no_part(samples: tuple[list[float], list[float]]) -> None:
    """A sample and any permutation of it have the same statistics."""
    first, second = samples
    assert summarise(first).numbers() == summarise(second).numbers()
