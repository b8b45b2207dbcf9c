"""What all hypothesis tests go by."""

from __future__ import annotations

from hypothesis import settings


def test_an_example_has_no_deadline() -> None:
    """One may take as long as the machine stands still."""
    assert settings().deadline is None
