from __future__ import annotations

import pytest

from pytest_llmci.backends.stopping import cut, stopped
from pytest_llmci.records import Completion


@pytest.mark.parametrize(
    ("stop", "left"),
    [(("c",), "ab"), (("d", "b"), "a"), (("x",), None), ((), None), (("",), None), (("abc",), ""), (("x", "c"), "ab")],
)
def test_a_text_ends_before_the_first_stop(stop: tuple[str, ...], left: str | None) -> None:
    assert cut("abcabc", stop) == left


def test_an_answer_that_was_stopped_says_so_and_keeps_its_counts() -> None:
    long = Completion(text="a b c", finish_reason="length", output_tokens=3)
    assert stopped(long, (" c",)) == Completion(text="a b", finish_reason="stop", output_tokens=3)
    assert stopped(long, ("d",)) is long
