from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.store.encoding import _spell, spelled

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e-12, 1e20) | st.integers(-(2**70), 2**70)


@given(st.lists(NUMBERS))
def test_a_spelt_number_reads_back_as_the_same_number(numbers: list[float]) -> None:
    """Derived files lose nothing, and hold the same texts wherever they are made."""
    texts = spelled(numbers)
    assert texts == [*map(_spell, numbers)]
    for text, number in zip(texts, numbers, strict=True):
        back = type(number)(text)
        assert (back, math.copysign(1, back)) == (number, math.copysign(1, number))
