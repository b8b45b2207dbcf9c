from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.records import Completion
from pytest_llmci.runner.loop import _gaps, text_is_unicode


@given(st.integers(0, 2**62), st.lists(st.integers(0, 2**40)))
def test_gaps_sum_to_the_time_of_the_last_token_exactly(begin: int, waits: list[int]) -> None:
    """TTFT + sum(ITL) = time of the last token, on integers, for any arrival times."""
    stamps = list(accumulate(waits, initial=begin))[1:]
    gaps = _gaps(begin, stamps)
    assert list(gaps) == waits
    assert sum(gaps) == (stamps[-1] - begin if stamps else 0)


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_any_answer_can_be_encoded_and_valid_ones_stay(text: str) -> None:
    """The text of a round has a UTF-8 form; one that had it before is not touched."""
    found = text_is_unicode(Completion(text=text, finish_reason="stop")).text
    assert found.encode("utf-8").decode("utf-8") == found
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        assert found != text
    else:
        assert found == text
