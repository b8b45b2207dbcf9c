from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from log_lines import HAS_LOCKS, bodies, changed, lines_of, rechain
from sample_run import header, rounds, usual_records, verdict, write_log

from pytest_llmci.store.log import LogWriter
from pytest_llmci.store.verify import verify_log

Edit = Callable[[list[bytes]], list[bytes]]
EDITS: list[tuple[str, Edit, int, str]] = [
    ("a value", lambda a: [*a[:2], changed(a[2], b"12000000", b"02000000"), *a[3:]], 3, "line 3 (rounds, a-tcp) was"),
    ("a number", lambda a: [*a[:4], changed(a[4], b'"line":5', b'"line":6'), *a[5:]], 5, "line 5 (rounds, a-dns) was"),
    ("a digest", lambda a: [*a[:3], changed(a[3], a[3][11:13], b"xx"), *a[4:]], 4, "line 4 (verdict, a-tcp) was"),
    ("last number", lambda a: [*a[:9], changed(a[9], b'"line":10', b'"line":11')], 10, "line 10 (footer) was changed"),
    ("first line", lambda a: a[1:], 1, "line 1 was removed: line 2 (worker) stands in its place"),
    ("a line", lambda a: a[:5] + a[6:], 6, "line 6 was removed: line 7 (worker) stands in its place"),
    ("two lines", lambda a: a[:5] + a[7:], 6, "line 6 was removed, as were the lines up to 7: line 8 (rounds, b-tcp)"),
    ("before footer", lambda a: a[:8] + a[9:], 9, "line 9 was removed: line 10 (footer) stands in its place"),
    ("footer too", lambda a: a[:7] + a[9:], 8, "line 8 was removed, as were the lines up to 9: line 10 (footer)"),
    ("a copy", lambda a: [*a[:5], a[2], *a[5:]], 6, "line 6 (rounds, a-tcp) does not belong there"),
    ("empty line", lambda a: [*a[:5], b"\n", *a[5:]], 6, "line 6 does not belong there: it was inserted or moved"),
    ("a swap", lambda a: [*a[:2], a[3], a[2], *a[4:]], 3, "line 3 (verdict, a-tcp) does not belong there"),
    ("more", lambda a: [*a, a[3]], 11, "line 11 (verdict, a-tcp) was added behind the footer"),
    ("half more", lambda a: [*a, b"x"], 11, "line 11 was added behind the footer"),
    ("last end", lambda a: [*a[:9], a[9][:-1] + b" "], 10, "line 10 (footer) was changed: its line end"),
    ("middle end", lambda a: [*a[:3], a[3][:-1] + b" ", *a[4:]], 4, "line 4 (verdict, a-tcp) was changed"),
    ("half a line", lambda a: [*a[:4], a[4][:-90]], 5, "line 5 (rounds, a-dns) is cut off"),
    ("a few bytes", lambda a: [*a[:4], a[4][:30]], 5, "line 5 is cut off"),
    ("all", lambda _: [b"garbage\n", b"\x00\xff\n"], 1, "line 1 was changed"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "line", "message"), [case[1:] for case in EDITS], ids=[case[0] for case in EDITS])
def test_the_first_place_that_differs_is_named(tmp_path: Path, edit: Edit, line: int, message: str) -> None:
    path = write_log(tmp_path, usual_records())
    path.write_bytes(b"".join(edit(lines_of(path))))
    found = verify_log(path)
    assert not found.ok
    assert found.damage is not None
    assert found.damage.line == line
    assert found.message.startswith(f"{path}: {message}")
    assert found.lines == line - 1


def test_a_whole_log(tmp_path: Path) -> None:
    found = verify_log(write_log(tmp_path, usual_records()))
    assert (found.ok, found.state, found.lines) == (True, "complete", 10)
    assert "10 lines, whole, with footer" in found.message


@pytest.mark.skipif(not HAS_LOCKS, reason="needs file locks")
def test_a_running_session_is_told_from_a_killed_one(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    writer.append(rounds())
    assert (verify_log(writer.path).state, verify_log(writer.path).ok) == ("running", False)
    writer.release()
    found = verify_log(writer.path)
    assert (found.state, found.ok, found.lines) == ("killed", False, 2)
    assert "no footer: its session was killed or the end was cut off" in found.message


def test_a_footer_that_does_not_fit_is_found(tmp_path: Path) -> None:
    path = write_log(tmp_path, [verdict()])
    rechain(path, [bodies(path)[0], bodies(path)[2]])
    found = verify_log(path)
    assert found.damage is not None
    assert found.damage.message == "line 2 (footer) does not fit the lines before it"


def test_a_log_that_does_not_begin_with_a_header(tmp_path: Path) -> None:
    path = write_log(tmp_path, [verdict()])
    rechain(path, bodies(path)[1:2])
    assert "is not the header, which comes first" in verify_log(path).message
