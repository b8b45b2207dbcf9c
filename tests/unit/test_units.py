from __future__ import annotations

import math

import pytest

from pytest_llmci.errors import ConfigError
from pytest_llmci.units import (
    Unit,
    format_bytes,
    format_duration,
    format_quantity,
    parse_duration_s,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("300ms", "s", 0.3),
        ("1.1ms", "s", 0.0011),
        ("5us", "s", 0.000005),
        ("5µs", "s", 0.000005),
        ("7ns", "s", 0.000000007),
        ("2", "s", 2.0),
        ("1.5min", "s", 90.0),
        ("10m", "s", 600.0),
        ("1h", "s", 3600.0),
        (" 2 GiB ", "B", 2147483648.0),
        ("2gib", "B", 2147483648.0),
        ("800MB", "B", 800_000_000.0),
        ("1kB", "B", 1000.0),
        ("10MiB/s", "B/s", 10485760.0),
        ("20", "1/s", 20.0),
        ("20/s", "1/s", 20.0),
        ("20 tokens/s", "1/s", 20.0),
        ("80%", "%", 80.0),
        ("1e3", "1", 1000.0),
        ("-.5", "1", -0.5),
        ("1.5cores", "cores", 1.5),
        ("12J", "J", 12.0),
        ("0.02$", "USD", 0.02),
    ],
)
def test_reads_what_people_write(text: str, unit: Unit, expected: float) -> None:
    assert parse_quantity(text, unit, "x") == expected


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("", "s"),
        ("fast", "s"),
        ("2 GiB", "s"),
        ("2s", "B"),
        ("5M", "B"),
        ("5 MS", "s"),
        ("1 2", "s"),
        ("nan", "s"),
        ("inf", "s"),
        ("1e999", "s"),
        ("50%", "1"),
        ("0x10", "1"),
        ("5s", "1/s"),
    ],
)
def test_refuses_other_things_and_shows_how_it_is_written(text: str, unit: Unit) -> None:
    with pytest.raises(ConfigError, match=rf"--opt: '{text.strip()}' is not a quantity in .*; write it like "):
        parse_quantity(text, unit, "--opt")


@pytest.mark.parametrize("text", ["0", "-1s", "0ms"])
def test_a_duration_is_longer_than_zero(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--limit: '{text}' must be longer than zero"):
        parse_duration_s(text, "--limit")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (3e-9, "3 ns"),
        (0.0000123, "12.3 µs"),
        (0.0004, "400 µs"),
        (0.0123, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.42, "1.42 s"),
        (59.94, "59.9 s"),
        (99.9, "99.9 s"),
        (99.96, "1 min 40 s"),
        (120.2, "2 min"),
        (3599.7, "1 h 0 min"),
        (5400, "1 h 30 min"),
        (-0.25, "-250 ms"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_durations_have_three_digits_in_the_unit_a_person_chooses(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1023 * 1024, "1 MiB"),
        (851443712, "812 MiB"),
        (2**31, "2 GiB"),
        (1.5 * 2**40, "1.50 TiB"),
        (5000 * 2**40, "5000 TiB"),
        (-2048, "-2 KiB"),
        (math.nan, "n/a"),
    ],
)
def test_bytes_are_binary_multiples(count: float, expected: str) -> None:
    assert format_bytes(count) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.3, "s", "300 ms"),
        (2**30, "B", "1 GiB"),
        (2**20, "B/s", "1 MiB/s"),
        (35.25, "1/s", "35.2 /s"),
        (35.0, "1/s", "35 /s"),
        (0.0123, "1/s", "0.0123 /s"),
        (99.96, "1/s", "100 /s"),
        (1234.0, "1/s", "1,234 /s"),
        (23432.5, "1/s", "23,432 /s"),
        (100_000.0, "1/s", "0.1 M /s"),
        (2.594e6, "1/s", "2.59 M /s"),
        (999.4e6, "1/s", "999 M /s"),
        (1e9, "1/s", "1 G /s"),
        (-23432.5, "1/s", "-23,432 /s"),
        (1234.5, "1", "1,234"),
        (2.5e6, "1", "2.5 M"),
        (12345.0, "1", "12345"),
        (0.5, "%", "0.5 %"),
        (1.25, "cores", "1.25 cores"),
        (3.0, "J", "3 J"),
        (0.02, "USD", "0.02 USD"),
        (math.nan, "1", "n/a"),
        (math.inf, "%", "n/a"),
        (math.nan, "B/s", "n/a"),
    ],
)
def test_quantities_carry_their_unit(value: float, unit: Unit, expected: str) -> None:
    assert format_quantity(value, unit) == expected
