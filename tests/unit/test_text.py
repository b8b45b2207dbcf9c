from __future__ import annotations

import pytest

from pytest_llmci.text import one_line, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("line\nnext\tcolumn", "line\nnext\tcolumn"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never closed", ""),
        ("\x1bcreset", "creset"),
        ("bell\x07 null\x00 del\x7f c1\x9b", "bell null del c1"),
        ("over\rwritten", "overwritten"),
        ("\u202egnp.exe\u2066x\u2069", "gnp.exex"),
        ("half \ud800 pair", "half  pair"),
        ("你好 é 🙂", "你好 é 🙂"),
    ],
)
def test_nothing_that_moves_the_cursor_is_left(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_one_line_has_single_blanks_only() -> None:
    assert one_line("  a\n\n b\t\x1b[2Jc  ") == "a b c"
