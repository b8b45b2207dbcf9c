from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.text import one_line, plain

ANYTHING = st.text(st.characters(), max_size=40) | st.text("\x1b[]\\m0;\x07\x9bAz \n", max_size=40)


@given(ANYTHING)
def test_shown_text_holds_no_control_and_can_be_encoded(text: str) -> None:
    """plain(text) has no control character but newline and tab, and is UTF-8; doing it twice changes nothing."""
    shown = plain(text)
    assert all(char in "\n\t" or unicodedata.category(char) != "Cc" for char in shown)
    shown.encode("utf-8")
    assert plain(shown) == shown


@given(ANYTHING)
def test_one_line_is_one_line(text: str) -> None:
    """one_line(text) has no line break, and no blank at its ends."""
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line == line.strip()
