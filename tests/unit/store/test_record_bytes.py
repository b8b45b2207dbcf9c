from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from sample_run import header, rounds, verdict, worker, write_log

from pytest_llmci.errors import StoreError
from pytest_llmci.records import (
    BudgetResult,
    LogRecord,
    RoundsRecord,
    WorkerRecord,
)
from pytest_llmci.store.log import LogWriter, read_log
from pytest_llmci.store.record_bytes import decode_record, encode_record, uid_of


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


def test_what_json_cannot_hold_is_refused_in_one_line(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    with pytest.raises(StoreError, match="a header record holds what JSON cannot"):
        writer.append(header(settings={"output": object()}))
    writer.release()


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


def test_the_uid_is_found_without_parsing() -> None:
    assert uid_of(encode_record(verdict("v1", prompt_id='"uid":"of-a-text"'))) == "v1"
    assert uid_of(encode_record(header())) == ""
    assert uid_of(b'{"type":"rounds","uid":"with a \\" in it"}') == ""
