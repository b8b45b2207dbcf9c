from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_run import header, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import LogTamperedError, SchemaVersionError, StoreError
from pytest_llmci.records import (
    BudgetResult,
    FooterRecord,
    HeaderRecord,
    LogRecord,
    RoundsRecord,
    WorkerRecord,
)
from pytest_llmci.store.log import (
    LogReader,
    LogWriter,
    SpoolWriter,
    _with_columns,
    decode_record,
    is_live,
    read_log,
    read_spool,
    recover,
    verify_log,
)

HAS_LOCKS = sys.platform != "win32"


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


# ------------------------------------------------------------------------------------------------------------ writing


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = write_log(tmp_path, usual_records())
    found = list(read_log(path))
    assert found[:-1] == [header(), *usual_records()]
    footer = found[-1]
    assert isinstance(footer, FooterRecord)
    assert (footer.lines, footer.exit_status, footer.recovered) == (9, 0, False)


def test_blocks_with_some_metrics_alone_and_no_token_times(tmp_path: Path) -> None:
    hostile = 'a ,"token_ns":[[1,2]] prompt ,"values":{"latency":[5]}'
    written = [
        rounds("r1", prompt=hostile, outputs=['"token_ns":[[7]]']),
        rounds("r2", latencies_ms=(), values={}),
    ]
    path = write_log(tmp_path, written)
    short = list(LogReader(path, ("rounds",), metrics=("latency", "nothing")))
    assert short == [
        replace(
            record,
            token_ns=[],
            values={name: record.values[name] for name in ("latency",) if name in record.values},
        )
        for record in written
    ]
    path.write_bytes(path.read_bytes().replace(b"10000000", b"10000001"))  # a token time
    with pytest.raises(LogTamperedError):
        list(LogReader(path, ("rounds",), metrics=("latency",)))


def test_numbers_of_other_metrics_are_not_parsed(tmp_path: Path) -> None:
    columns = b'{"n":1,"values":{"a":[1,null],"b":[2,3],"c":[4,5]},"reasons":{"d":"[x]}"}}'
    kept = _with_columns(columns, {b'"b"', b'"d"'})
    assert kept == b'{"n":1,"values":{"b":[2,3]},"reasons":{"d":"[x]}"}}'
    assert _with_columns(columns, set()) == b'{"n":1,"values":{},"reasons":{"d":"[x]}"}}'
    for unfamiliar in (
        b'{"values":{}}',
        b'{"n":1,"values":{"a":[[1],[2]]}}',
        b'{"n":1,"values":{"\\u00e9":[1]}}',
        b"{}",
    ):
        assert _with_columns(unfamiliar, {b'"b"'}) == unfamiliar


def test_the_chain_can_be_checked_without_this_package(tmp_path: Path) -> None:
    previous = "0" * 64
    for number, raw in enumerate(lines_of(write_log(tmp_path, usual_records())), start=1):
        line = json.loads(raw)
        rest = raw.split(b'",', 1)[1].rstrip(b"\n")
        assert line["sha256"] == hashlib.sha256(previous.encode() + rest).hexdigest()
        assert line["line"] == number
        previous = line["sha256"]


def test_no_key_stands_twice_in_a_line(tmp_path: Path) -> None:
    def refuse_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len({key for key, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    for raw in lines_of(write_log(tmp_path, usual_records())):
        json.loads(raw, object_pairs_hook=refuse_twice)


@pytest.mark.parametrize(
    "text", ["\x00\x1b[31m\x7f", 'quo"te\\', "line\nbreak\r\n\u2028", "Ünï 漢字 🙂", "\ud83d alone", "=1+1"]
)
def test_any_text_survives(tmp_path: Path, text: str) -> None:
    path = write_log(tmp_path, [rounds(prompt=text, outputs=[text])])
    assert path.read_bytes().isascii()
    (found,) = read_log(path, ("rounds",))
    assert isinstance(found, RoundsRecord)
    assert (found.prompt, found.outputs) == (text, [text])


def test_every_line_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    for number, record in enumerate(usual_records(), start=2):
        writer.append(record)
        assert (tmp_path / "log.jsonl").read_bytes().count(b"\n") == number
    writer.release()


def test_what_a_spool_holds_is_written_as_it_is_unless_something_of_it_must_not_be(tmp_path: Path) -> None:
    body = SpoolWriter(tmp_path / "gw0.jsonl").append(rounds("r1", prompt="secret \ud800"))
    assert (tmp_path / "gw0.jsonl").read_bytes() == body + b"\n"
    told_otherwise = body.replace(b'"n":3', b'"n": 3')
    assert told_otherwise != body
    writer = LogWriter(tmp_path / "log.jsonl", protect=lambda record: record)
    writer.append(header())
    assert writer.append(decode_record(body), told_otherwise) == rounds("r1", prompt="secret \ud800")
    assert writer.exact
    writer.close()
    assert lines_of(tmp_path / "log.jsonl")[1].endswith(told_otherwise[1:] + b"\n")
    assert verify_log(tmp_path / "log.jsonl").ok

    def without(record: Any) -> Any:
        return replace(record, prompt="[secret]") if isinstance(record, RoundsRecord) else record

    masked = LogWriter(tmp_path / "masked.jsonl", protect=without)
    masked.append(header())
    masked.append(decode_record(body), body)
    assert b"secret " not in lines_of(tmp_path / "masked.jsonl")[1]
    masked.release()


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"type":"nothing"}', b'{"type":"rounds"}'])
def test_what_is_no_record_of_a_spool_is_told(body: bytes) -> None:
    with pytest.raises(StoreError):
        decode_record(body)


def test_numbers_that_are_not_finite_become_missing_with_a_reason(tmp_path: Path) -> None:
    record = rounds(latencies_ms=(100, 120))
    values = {**record.values, "cpu_percent": [math.nan, 50.0]}
    broken = rounds(latencies_ms=(100, 120), values=values)
    start = worker(values={"load_time": math.inf, "model_footprint": 10})
    judged = verdict(
        budgets=[
            BudgetResult(
                budget="latency <= 1s", origin="marker", metric="latency", statistic="median", operator="<=", limit=1.0,
                verdict="inconclusive", observed=math.nan, rounds=2, reason="?", values=[0.1, math.inf],
            )
        ]
    )  # fmt: skip
    path = write_log(tmp_path, [broken, start, judged])
    _, found, process, decided, _ = read_log(path)
    assert isinstance(found, RoundsRecord)
    assert isinstance(process, WorkerRecord)
    assert found.values["cpu_percent"] == [None, 50.0]
    assert found.reasons["cpu_percent"] == "the measured number was not finite"
    assert process.values == {"model_footprint": 10}
    assert process.reasons == {"load_time": "the measured number was not finite"}
    assert decided == verdict(budgets=[*_finite_budget(judged.budgets)])


def _finite_budget(budgets: list[BudgetResult]) -> list[BudgetResult]:
    import dataclasses

    return [dataclasses.replace(budget, observed=None, values=[0.1]) for budget in budgets]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noisy": [""]}, "noisy holds 1 entries for 3 rounds"),
        ({"values": {"latency": [1.0]}}, "latency holds 1 entries for 3 rounds"),
        ({"md5": []}, "0 md5 and 1 sha256 for 1 outputs"),
        ({"output_of_round": [0, 1, 0]}, "points outside the 1 outputs"),
    ],
)
def test_blocks_whose_lists_do_not_match_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    with pytest.raises(StoreError, match=message):
        writer.append(rounds(**changes))
    writer.release()


def test_the_header_comes_first_and_once(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    with pytest.raises(StoreError, match="header is the first line"):
        writer.append(rounds())
    writer.append(header())
    with pytest.raises(StoreError, match="header is the first line"):
        writer.append(header())
    writer.release()


def test_what_json_cannot_hold_is_refused_in_one_line(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    with pytest.raises(StoreError, match="a header record holds what JSON cannot"):
        writer.append(header(settings={"output": object()}))
    writer.release()


def test_an_existing_log_is_never_written_over(tmp_path: Path) -> None:
    path = write_log(tmp_path, [])
    with pytest.raises(StoreError, match=r"log\.jsonl: cannot be opened for writing: File exists"):
        LogWriter(path)


def test_closing_twice_and_appending_after_it(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl", clock=FakeClock())
    writer.append(header())
    writer.close(1)
    writer.close(2)
    with pytest.raises(StoreError, match="closed"):
        writer.append(rounds())
    *_, footer = read_log(tmp_path / "log.jsonl")
    assert footer == FooterRecord(
        lines=1,
        digest=json.loads(lines_of(writer.path)[0])["sha256"],
        finished="2026-01-01T00:00:00.000Z",
        exit_status=1,
    )


def test_closing_a_log_without_header_leaves_it_empty(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.close(4)
    assert (tmp_path / "log.jsonl").read_bytes() == b""


class FullDisk:
    """Takes a number of bytes, then has no room."""

    def __init__(self, room: int, write: Callable[[int, Any], int]) -> None:
        self.room, self.write = room, write

    def __call__(self, fd: int, data: Any) -> int:
        taken = bytes(data)[: self.room]
        self.room -= len(taken)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.write(fd, taken)


def test_a_full_disk_is_one_line_and_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    whole = writer.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", FullDisk(40, os.write))
        with pytest.raises(
            StoreError, match=r"cannot write line 2: No space left on device. The line before it is kept"
        ):
            writer.append(rounds())
    assert writer.path.read_bytes() == whole
    writer.append(rounds())  # somebody made room
    writer.close(0)
    assert verify_log(writer.path).state == "complete"


@pytest.mark.skipif(not HAS_LOCKS, reason="needs POSIX limits")
def test_the_kernel_refusing_bytes_leaves_a_log_that_can_be_read(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from sample_run import *;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000));"
        "write_log(Path(sys.argv[1]), [rounds(f'r{number}') for number in range(20)])"
    )
    done = run_script(script, str(tmp_path))
    assert "StoreError" in done.stderr
    assert "cannot write line 4: File too large. The 3 lines before it are kept." in done.stderr
    assert [record.TYPE for record in read_log(tmp_path / "log.jsonl")] == ["header", "rounds", "rounds"]
    assert lines_of(tmp_path / "log.jsonl")[-1].endswith(b"}\n")


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_a_disk_that_does_not_take_the_finished_log_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match="the disk did not take it"):
        writer.close(0)
    assert is_live(writer.path) is not True


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupt_while_writing_does_not_break_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    write = os.write

    def interrupted(fd: int, data: Any) -> int:
        write(fd, bytes(data)[:30] if moment == "before" else data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.append(rounds("r1"))
    writer.append(verdict())
    writer.close(2)
    assert verify_log(writer.path).state == "complete"
    kinds = [record.TYPE for record in read_log(writer.path)]
    assert kinds == ["header", *(["rounds"] if moment == "after" else []), "verdict", "footer"]


@pytest.mark.skipif(not HAS_LOCKS, reason="needs file locks")
def test_one_writer_at_a_time(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    assert is_live(writer.path) is True
    with pytest.raises(StoreError, match="another session is writing this log"):
        recover(tmp_path)
    writer.close(0)
    assert is_live(writer.path) is False


# ------------------------------------------------------------------------------------------------------------ reading


def test_kinds_choose_records_and_the_rest_is_still_checked(tmp_path: Path) -> None:
    path = write_log(tmp_path, usual_records())
    assert [record.TYPE for record in read_log(path, ("worker", "footer"))] == ["worker", "worker", "footer"]
    path.write_bytes(path.read_bytes().replace(b'"verdict":"inconclusive"', b'"verdict":"pass"'))
    with pytest.raises(LogTamperedError, match=r"line 6 \(verdict, a-dns\) was changed"):
        list(read_log(path, ("worker",)))


def test_a_reader_knows_where_it_is(tmp_path: Path) -> None:
    reader = LogReader(write_log(tmp_path, usual_records()), ("rounds",))
    assert [(reader.lines, record.TYPE) for record in reader] == [(3, "rounds"), (5, "rounds"), (8, "rounds")]
    assert (reader.lines, reader.finished) == (10, True)
    assert reader.digest == verify_log(reader.path).digest


def test_reading_ends_at_the_last_whole_line(tmp_path: Path) -> None:
    path = write_log(tmp_path, usual_records(), footer=False)
    path.write_bytes(path.read_bytes()[:-10])
    assert [record.TYPE for record in read_log(path)][-1] == "rounds"


def test_unknown_line_types_and_keys_of_a_later_minor_version_are_passed_over(tmp_path: Path) -> None:
    path = write_log(tmp_path, [])
    rechain(
        path,
        [*bodies(path)[:1], {"type": "later", "uid": "q", "later": 1}, {**bodies(path)[1], "lines": 2, "more": 5}],
    )
    assert [record.TYPE for record in read_log(path)] == ["header", "footer"]
    assert verify_log(path).ok


def bodies(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in json.loads(raw).items() if k not in ("sha256", "line")} for raw in lines_of(path)]


def rechain(path: Path, records: list[dict[str, Any]]) -> None:
    """Write a log as somebody would who knows how the chain is made."""
    previous, lines = "0" * 64, []
    for number, body in enumerate(records, start=1):
        sealed = {"digest": previous} if body["type"] == "footer" else {}
        rest = json.dumps({"line": number, **body, **sealed}, separators=(",", ":"))[1:].encode()
        digest = hashlib.sha256(previous.encode() + rest).hexdigest()
        lines.append(b'{"sha256":"' + digest.encode() + b'",' + rest + b"\n")
        previous = digest
    path.write_bytes(b"".join(lines))


def test_a_newer_schema_says_what_to_do(tmp_path: Path) -> None:
    path = write_log(tmp_path, [])
    rechain(path, [{**bodies(path)[0], "schema_version": 2}, bodies(path)[1]])
    for read in (verify_log, lambda p: list(read_log(p))):
        with pytest.raises(SchemaVersionError, match=r"log schema 2, this one reads up to 1\): pip install -U"):
            read(path)


def test_a_record_of_another_form_names_its_line(tmp_path: Path) -> None:
    path = write_log(tmp_path, [verdict()])
    first, second, footer = bodies(path)
    rechain(path, [first, {**second, "verdict": "fine"}, footer])
    with pytest.raises(StoreError, match=r"line 2: VerdictRecord.verdict: 'fine' is none of 'pass'"):
        list(read_log(path))


@pytest.mark.parametrize("content", [b"", b"hello", b'{"sha256":"'])
def test_a_file_without_a_whole_line_is_no_log(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="holds no whole line"):
        list(read_log(path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        list(read_log(tmp_path / "log.jsonl"))
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        verify_log(tmp_path)


# ---------------------------------------------------------------------------------------------------------- verifying


def changed(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert raw.count(old) >= 1
    return raw.replace(old, new, 1)


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


# -------------------------------------------------------------------------------------------------- spool and recovery


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


# ---------------------------------------------------------------------------------------- does it say what it was told


@pytest.mark.parametrize(
    ("record", "exact"),
    [
        (rounds(outputs=["plain, \U0001f642, and half of one: \udc80"]), True),
        (rounds(outputs=["two halves: \ud83d\ude42"]), False),
        (rounds(values={"latency": [1.0, math.nan, 2.0]}), False),
    ],
)
def test_a_line_that_reads_back_as_something_else_is_known(tmp_path: Path, record: LogRecord, exact: bool) -> None:
    path = tmp_path / "log.jsonl"
    writer = LogWriter(path)
    writer.append(header())
    writer.append(record)
    writer.close()
    assert writer.exact is exact
    assert (list(read_log(path, ("rounds",))) == [record]) is exact
