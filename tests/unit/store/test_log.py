from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from log_lines import HAS_LOCKS, bodies, lines_of, rechain
from sample_run import header, rounds, usual_records, verdict, write_log

from pytest_llmci.clock import FakeClock
from pytest_llmci.errors import LogTamperedError, SchemaVersionError, StoreError
from pytest_llmci.records import (
    FooterRecord,
    RoundsRecord,
)
from pytest_llmci.store.log import LogReader, LogWriter, _with_columns, is_live, read_log
from pytest_llmci.store.record_bytes import decode_record
from pytest_llmci.store.recovery import recover
from pytest_llmci.store.spool import SpoolWriter
from pytest_llmci.store.verify import verify_log

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


def test_the_header_comes_first_and_once(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    with pytest.raises(StoreError, match="header is the first line"):
        writer.append(rounds())
    writer.append(header())
    with pytest.raises(StoreError, match="header is the first line"):
        writer.append(header())
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
