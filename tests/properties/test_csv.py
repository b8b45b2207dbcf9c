from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmci.sinks.csv import guard_text, quoted, unguard_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from("=+-@'\"\t\r\n,\x00 a"))


@given(TEXTS)
def test_guarding_is_exact(text: str) -> None:
    """What was guarded begins no formula, and unguarding gives the text back."""
    assert not guard_text(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert unguard_text(guard_text(text)) == text


@given(st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=4))
def test_any_text_survives_the_table(rows: list[list[str]]) -> None:
    """Rows of any texts, NUL and line ends of every kind included, come back from the bytes that were written, which are those
    that the standard library writes."""
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([guard_text(text) for text in row] for row in rows)
    written = "".join(",".join([quoted(guard_text(text)) for text in row]) + "\r\n" for row in rows)
    assert written == stream.getvalue()
    content = written.encode("utf-8")
    back = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    assert [[unguard_text(text) for text in row] for row in back] == rows
