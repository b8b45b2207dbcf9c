from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import header, rounds, usual_records, write_log

from pytest_llmci.errors import LogTamperedError
from pytest_llmci.store.log import read_log
from pytest_llmci.store.recovery import recover
from pytest_llmci.store.verify import Verification, verify_log

with tempfile.TemporaryDirectory() as _folder:
    WHOLE = write_log(Path(_folder), usual_records()).read_bytes()
LINES = WHOLE.splitlines(keepends=True)
POSITIONS = st.integers(0, len(WHOLE) - 1)
NUMBERS = st.integers(1, len(LINES))


def verify(content: bytes) -> Verification:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_bytes(content)
        return verify_log(path)


def line_of(position: int) -> int:
    return WHOLE.count(b"\n", 0, position) + 1


@given(POSITIONS, st.integers(1, 255))
def test_any_changed_byte_is_attributed_to_its_line(position: int, difference: int) -> None:
    """Whichever byte of the log is changed to whatever, verification fails and names the line that held it."""
    content = bytearray(WHOLE)
    content[position] ^= difference
    found = verify(bytes(content))
    assert found.damage is not None
    assert found.damage.line == line_of(position)


@given(POSITIONS)
def test_any_cut_is_noticed(position: int) -> None:
    """A log that was cut at any byte is not whole; between two lines it looks killed, within one that line is named."""
    found = verify(WHOLE[:position])
    assert not found.ok
    if position == 0 or WHOLE[position - 1 : position] == b"\n":
        assert (found.state, found.lines) == ("killed", line_of(position) - 1)
    else:
        assert found.damage is not None
        assert (found.damage.line, found.damage.what) == (line_of(position), "is cut off")


@given(NUMBERS)
def test_any_removed_line_is_named(number: int) -> None:
    """Whichever line is removed, verification names it; without the footer the log has no end."""
    found = verify(b"".join(LINES[: number - 1] + LINES[number:]))
    assert not found.ok
    if number == len(LINES):
        assert found.state == "killed"
    else:
        assert found.damage is not None
        assert (found.damage.line, found.damage.what[:11]) == (number, "was removed")


@given(NUMBERS, NUMBERS)
def test_any_inserted_copy_is_noticed(source: int, place: int) -> None:
    """A copy of any line before any other is noticed where it stands, or behind the line that it copies."""
    found = verify(b"".join([*LINES[: place - 1], LINES[source - 1], *LINES[place - 1 :]]))
    assert found.damage is not None
    assert found.damage.line == (place + 1 if source == place else place)
    assert "inserted" in found.damage.what or "behind the footer" in found.damage.what


@given(st.permutations(range(len(LINES))))
def test_any_other_order_is_noticed(order: list[int]) -> None:
    """Lines in any other order are no whole log, and the first one out of place is where it is noticed."""
    found = verify(b"".join(LINES[index] for index in order))
    moved = [place for place, index in enumerate(order, start=1) if place != index + 1]
    assert found.ok == (not moved)
    if moved:
        assert found.damage is not None
        assert found.damage.line == moved[0]


@given(POSITIONS)
def test_a_log_cut_anywhere_behind_its_header_is_recovered(position: int) -> None:
    """Whole lines survive any cut, the rest is kept beside them, and the log verifies again."""
    content = WHOLE[: max(position, len(LINES[0]))]
    whole = content[: content.rfind(b"\n") + 1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_bytes(content)
        done = recover(Path(folder))
        assert verify_log(path).state == "recovered"
        assert path.read_bytes().startswith(whole)
        assert (done.partial.read_bytes() if done.partial else b"") == content[len(whole) :]


@given(st.text(st.characters(exclude_categories=[])), st.text())
def test_any_text_is_one_line_of_the_log(prompt: str, output: str) -> None:
    """Every text, control characters and lone surrogates included, is read as it was written.

    Two surrogates that form a pair are the one exception: they come back as the character that they mean.
    """
    meant = prompt.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        path = write_log(Path(folder), [rounds(prompt=prompt, outputs=[output])])
        assert path.read_bytes().count(b"\n") == 3
        assert list(read_log(path))[:2] == [header(), rounds(prompt=meant, outputs=[output])]


@given(POSITIONS, st.integers(1, 255))
def test_a_reader_never_gives_a_changed_record(position: int, difference: int) -> None:
    """Reading a changed log gives the records before the change and then an error, or, at its last line, an end."""
    content = bytearray(WHOLE)
    content[position] ^= difference
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_bytes(content)
        records = read_log(path)
        for expected in [header(), *usual_records()][: line_of(position) - 1]:
            assert next(records) == expected
        with pytest.raises(LogTamperedError, match=rf"line {line_of(position)}\b"):
            next(records)
