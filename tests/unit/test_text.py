from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci.text import clipped, one_line, plain, shown_path, width, wrapped


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


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("abc", 3), ("你好", 4), ("🙂!", 3), ("e\u0301", 1), ("a\u200d\ufe0f", 1), ("ｱ", 1), ("µ", 1)],
)
def test_wide_characters_take_two_columns_and_combining_ones_none(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("abc", 2, "ab"),
        ("abc", 3, "abc"),
        ("你好", 3, "你"),
        ("你好", 4, "你好"),
        ("e\u0301x", 1, "e\u0301"),
        ("abc", -1, ""),
        ("你", 0, ""),
    ],
)
def test_clips_by_columns(text: str, room: int, expected: str) -> None:
    assert clipped(text, room) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["* "]),
        ("one two", ["* one two"]),
        ("one two three", ["* one two", "  three"]),
        ("你好 你好 x", ["* 你好", "  你好 x"]),
        ("/a/path/that/is/long x", ["* /a/path/that/is/long", "  x"]),
        ("x /a/path/that/is/long", ["* x", "  /a/path/that/is/long"]),
        ("up by 5 %, so", ["* up by", "  5 %, so"]),
        ("got % % % % %", ["* got % %", "  % % %"]),
        ("ab in 3 %s", ["* ab in 3", "  %s"]),
    ],
)
def test_wraps_at_white_space_by_columns(text: str, expected: list[str]) -> None:
    assert wrapped(text, 9, first="* ", rest="  ") == expected


def test_a_path_is_as_the_user_would_type_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    assert shown_path(tmp_path / "a" / "b" / "x.log") == "b/x.log"
    assert shown_path(str(tmp_path / "x.log")) == "../x.log"
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert shown_path(tmp_path / "x.log") == str(tmp_path / "x.log")
    monkeypatch.chdir(tmp_path)
    assert shown_path("/x") == "/x"
