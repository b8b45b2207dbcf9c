from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.errors import ConfigError
from pytest_llmci.units import Unit, format_bytes, format_duration, format_quantity, parse_quantity

UNITS: tuple[Unit, ...] = ("s", "B", "1/s", "%", "1", "cores", "J", "USD", "B/s")


@given(st.floats(min_value=1e-9, max_value=99.0))
def test_a_duration_reads_back_within_three_digits(seconds: float) -> None:
    """parse(format(t)) == t to three significant digits, below the range of minutes."""
    assert parse_quantity(format_duration(seconds), "s", "x") == pytest.approx(seconds, rel=6e-3)


@given(st.floats(min_value=1, max_value=2.0**50))
def test_a_size_reads_back_within_three_digits(count: float) -> None:
    """parse(format(n)) == n to three significant digits, and to whole bytes."""
    assert parse_quantity(format_bytes(count), "B", "x") == pytest.approx(count, rel=6e-3, abs=0.5)


@given(st.floats(), st.sampled_from(UNITS))
def test_any_number_can_be_shown(value: float, unit: Unit) -> None:
    """Showing a number never fails, whatever it is."""
    assert format_quantity(value, unit)


@given(st.text(), st.sampled_from(UNITS))
def test_any_text_is_read_or_refused_in_one_line(text: str, unit: Unit) -> None:
    """Whatever is written, it is a finite number or a ConfigError that names the place."""
    try:
        value = parse_quantity(text, unit, "--place")
    except ConfigError as error:
        refused = str(error)
    else:
        refused = "--place: "
        assert value - value == 0
    assert refused.startswith("--place: ")
