from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import rounds, usual_records, write_log

from pytest_llmci.errors import LogTamperedError, StoreError
from pytest_llmci.records import RoundsRecord
from pytest_llmci.store.log import LOG_NAME, read_log
from pytest_llmci.store.shelf import Place, Shelf
from pytest_llmci.store.spool import SPOOL_NAME, SpoolWriter


def test_what_was_seen_is_found_again_whole(tmp_path: Path) -> None:
    write_log(tmp_path, usual_records(), footer=False)
    spool = tmp_path / SPOOL_NAME / "gw0.jsonl"
    spool.parent.mkdir()
    writer = SpoolWriter(spool)
    late = [rounds("late-1", prompt_id="dns"), rounds("late-2", prompt_id="ntp")]
    for record in late:
        writer.append(record)
    writer.release()
    with spool.open("ab") as stream:
        stream.write(b'{"type":"rounds","uid":"cut')  # as a kill leaves it
    shelf = Shelf(tmp_path, spools=True)
    expected = [*read_log(tmp_path / LOG_NAME), *late]
    seen = list(shelf)
    assert [type(record) for record, _ in seen] == [type(record) for record in expected]
    assert [shelf.get(place) for _, place in reversed(seen)] == expected[::-1]
    assert len(list(Shelf(tmp_path))) == len(expected) - len(late)


def test_the_first_look_leaves_the_numbers_of_rounds_away(tmp_path: Path) -> None:
    write_log(tmp_path, [rounds()])
    shelf = Shelf(tmp_path, ("rounds",))
    ((record, place),) = shelf
    assert isinstance(record, RoundsRecord) and record == replace(rounds(), values={}, token_ns=record.token_ns)
    assert shelf.get(place) == rounds()


def test_a_line_that_was_changed_after_it_had_been_read_is_not_given(tmp_path: Path) -> None:
    write_log(tmp_path, [rounds()])
    shelf = Shelf(tmp_path, ("rounds",))
    ((_, place),) = shelf
    log = tmp_path / LOG_NAME
    log.write_bytes(log.read_bytes().replace(b"100000000", b"900000000"))
    with pytest.raises(LogTamperedError, match=r"log\.jsonl: it was changed after it had been read"):
        shelf.get(place)
    log.unlink()
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        shelf.get(place)


def test_a_line_that_is_no_record_is_told(tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).write_bytes(b'{"type":"verse"}\n')
    with pytest.raises(StoreError, match=r"byte 0: is no record: KeyError: 'verse'"):
        Shelf(tmp_path).get(Place(0, 0, 17, hash(b'{"type":"verse"}\n')))
