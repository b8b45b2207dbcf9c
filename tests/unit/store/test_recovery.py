from __future__ import annotations

import signal
from pathlib import Path

import pytest
from log_lines import HAS_LOCKS, changed, lines_of, run_script
from sample_run import header, rounds, usual_records, verdict, write_log

from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import LogTamperedError, StoreError
from pytest_llmci.records import (
    FooterRecord,
    HeaderRecord,
    LogRecord,
)
from pytest_llmci.store.log import read_log
from pytest_llmci.store.recovery import recover
from pytest_llmci.store.spool import SpoolWriter
from pytest_llmci.store.verify import verify_log


def killed_run(folder: Path, records: list[LogRecord]) -> Path:
    path = write_log(folder, records, footer=False)
    (folder / "spool").mkdir()
    return path


def test_recovery_closes_the_log_and_keeps_what_was_cut(tmp_path: Path) -> None:
    path = killed_run(tmp_path, usual_records())
    raw = path.read_bytes()
    path.write_bytes(raw + b'{"sha256":"12')
    done = recover(tmp_path, clock=FakeClock())
    assert (done.done, done.lines, done.partial) == (True, 9, tmp_path / "log.jsonl.partial")
    assert (tmp_path / "log.jsonl.partial").read_bytes() == b'{"sha256":"12'
    assert path.read_bytes().startswith(raw)
    found = verify_log(path)
    assert (found.state, found.ok, found.lines) == ("recovered", True, 10)
    *_, footer = read_log(path)
    assert isinstance(footer, FooterRecord)
    assert (footer.recovered, footer.exit_status) == (True, None)
    assert done.message == "the session was killed: recovered 9 lines, an unfinished line kept in log.jsonl.partial"


def test_recovery_moves_what_only_the_spool_has(tmp_path: Path) -> None:
    killed_run(tmp_path, [rounds("r1")])
    spooled: dict[str, list[LogRecord]] = {"gw0": [rounds("r1"), verdict("v1")], "gw1": [rounds("r2", "b")]}
    for name, records in spooled.items():
        spool = SpoolWriter(tmp_path / "spool" / f"{name}.jsonl")
        for record in records:
            spool.append(record)
        spool.release()
    (tmp_path / "spool" / "gw2.jsonl").write_bytes(b"\x00\x00\n")
    done = recover(tmp_path)
    assert (done.lines, done.from_spool, done.unreadable) == (4, 2, 1)
    assert list(read_log(tmp_path / "log.jsonl"))[:-1] == [header(), rounds("r1"), verdict("v1"), rounds("r2", "b")]


def test_recovery_is_idempotent(tmp_path: Path) -> None:
    path = killed_run(tmp_path, usual_records())
    recover(tmp_path)
    closed = path.read_bytes()
    again = recover(tmp_path)
    assert (again.done, again.lines) == (False, 9)
    assert path.read_bytes() == closed


def test_recovery_that_was_itself_killed_is_done_again(tmp_path: Path) -> None:
    path = killed_run(tmp_path, [rounds("r1")])
    spool = SpoolWriter(tmp_path / "spool" / "gw0.jsonl")
    spool.append(verdict("v1"))
    spool.append(verdict("v2", prompt_id="dns"))
    spool.release()
    recover(tmp_path)
    path.write_bytes(b"".join(lines_of(path)[:3]) + b"half")
    (tmp_path / "log.jsonl.partial").write_bytes(b"of the first time")
    done = recover(tmp_path)
    assert (done.from_spool, done.partial) == (1, tmp_path / "log.jsonl.partial-2")
    assert [record.TYPE for record in read_log(path)] == ["header", "rounds", "verdict", "verdict", "footer"]


def test_recovery_refuses_a_log_that_was_changed(tmp_path: Path) -> None:
    path = killed_run(tmp_path, usual_records())
    path.write_bytes(changed(path.read_bytes(), b"120000000", b"020000000"))
    before = path.read_bytes()
    with pytest.raises(LogTamperedError, match=r"line 3 .* was changed; a log that was changed is not recovered"):
        recover(tmp_path)
    assert path.read_bytes() == before


def test_recovery_of_a_session_that_never_began(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(StoreError, match="nothing to recover; delete"):
        recover(tmp_path)


@pytest.mark.skipif(not HAS_LOCKS, reason="needs POSIX signals")
def test_a_writer_killed_outright_loses_nothing_that_it_had_written(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from sample_run import *;"
        "write_log(Path(sys.argv[1]), usual_records(), footer=False); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = run_script(script, str(tmp_path))
    assert done.returncode == -signal.SIGKILL
    assert verify_log(tmp_path / "log.jsonl").state == "killed"
    assert recover(tmp_path).lines == 9
    assert isinstance(next(read_log(tmp_path / "log.jsonl")), HeaderRecord)
