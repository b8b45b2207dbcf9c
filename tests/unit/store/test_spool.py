from __future__ import annotations

from pathlib import Path

import pytest
from sample_run import rounds, verdict

from pytest_llmci.errors import StoreError
from pytest_llmci.store.spool import SpoolWriter, read_spool


def test_a_spool_holds_records_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "gw0.jsonl"
    spool = SpoolWriter(path)
    spool.append(rounds("r1"))
    spool.append(verdict("v1"))
    spool.release()
    with path.open("ab") as stream:
        stream.write(b'{"type":"rou')
    assert list(read_spool(path)) == [rounds("r1"), verdict("v1")]
    again = SpoolWriter(path)
    again.append(verdict("v2"))
    again.release()
    assert list(read_spool(path)) == [rounds("r1"), verdict("v1"), verdict("v2")]
    assert list(read_spool(path, {"r1", "v2", "v"})) == [verdict("v1")]


def test_a_spool_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gw0.jsonl"
    path.write_bytes(b'{"type":"nonsense"}\n')
    with pytest.raises(StoreError, match=r"gw0\.jsonl: line 1 is no record"):
        list(read_spool(path))
