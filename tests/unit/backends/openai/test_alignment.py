from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.backends.openai.alignment import places_of


@pytest.mark.parametrize(
    ("tokens", "text", "places"),
    [
        (["The", " sky", "!"], "The sky", [0, 3, 7]),
        (["<|begin_of_text|>", "The", " sky", "!"], "The sky", [None, 0, 3, 7]),
        (["The", " sky", "</s>"], "The sky", [0, 3, 7]),
        (["The", "sky", "is"], "The sky", [0, 3, 7]),  # blanks that a decoder of single tokens drops
        (["\u2581The", "\u2581sky", "\u2581is"], "The sky", [0, 3, 7]),
        (["The", "\u0120sky", "\u010a"], "The sky", [0, 3, 7]),
        (["\ufffd", "\ufffd", "\ufffd", " sky", "!"], "\U0001f99c sky", [0, 0, 0, 1, 5]),
        (["a", " \ufffd", "\ufffd", "b", "!"], "a \u20acb", [0, 1, 1, 3, 4]),
        (["a", "\ufffd", "\ufffd", "\ufffd", "!"], "a\U0001f99c", [0, 1, 1, 1, 2]),
        (["", "a", "b"], "a", [0, 1, 1]),
        ([" a", "b"], "a", [0, 1]),
        (
            ["a", "\ufffd", "\ufffd", "\ufffd", "\ufffd"],
            "a\U0001f99c",
            None,
        ),  # which of them came behind it cannot be told
        (["a", "x"], "ab", None),
        (["token_id:5", "token_id:6"], "ab", None),
        (["a"], "ab", None),
        ([], "ab", None),
    ],
)
def test_places_of_tokens(tokens: list[str], text: str, places: list[int | None] | None) -> None:
    assert places_of(tokens, text) == places


@given(st.lists(st.text(st.characters(exclude_characters="\ufffd\u2581\u0120\u010a"), min_size=1), min_size=1))
def test_tokens_that_are_pieces_of_a_text_lie_where_they_are(tokens: list[str]) -> None:
    """Whatever the pieces: each begins where those before it end."""
    expected = [sum(map(len, tokens[:number])) for number in range(len(tokens))]
    found = places_of(tokens, "".join(tokens))
    assert found == expected
