from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from sample_run import rounds, verdict, worker

from pytest_llmci.records import BudgetResult, LogRecord, Price, PublishedScore, json_view
from pytest_llmci.store import encoding
from pytest_llmci.store.encoding import dump, dump_quickly, dump_record, parse, parse_record, spelled

BUDGET = BudgetResult(
    budget="latency <= 1s", origin="marker", metric="latency", statistic="median", operator="<=", limit=1.0, verdict="pass",
    observed=math.nan, rounds=2, reason="?",
)  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        rounds(),
        verdict(),
        rounds(latencies_ms=(0.1, 1e9, 0.0), prompt='"\\\n\x00'),
        worker(info={"a": [1, {"b": None}], "c": True}),
    ],
)
def test_what_is_written_quickly_is_the_same_data_in_the_same_order(record: LogRecord) -> None:
    pytest.importorskip("orjson")
    found = dump_record(record)
    assert found is not None
    assert found.isascii()
    data, slow = json.loads(found), json.loads(dump(json_view(record)))
    assert data == slow
    assert list(data) == list(slow)


@pytest.mark.parametrize(
    "record",
    [
        rounds(values={"latency": [1, math.nan, 2]}),
        rounds(values={"latency": [1, -math.inf, 2]}),
        rounds(values={"latency": [math.inf, -math.inf, 2]}),
        rounds(values={"latency": [1, None, 2]}),
        rounds(worker_values={"load_time": math.inf}),
        verdict(budgets=[BUDGET]),
        worker(values={"load_time": math.nan}),
        worker(info={"a": [1, {"b": (2, math.inf)}]}),
        worker(price=Price(name="p", usd_per_hour=math.nan)),
        worker(published=PublishedScore(value=1.5, source="s", name="n")),
    ],
)
def test_what_may_hold_a_number_that_is_not_finite_is_not_written_quickly(record: LogRecord) -> None:
    assert dump_record(record) is None


@pytest.mark.parametrize(
    "data", [{"a": "\ud800"}, {"a": "\u20ac"}, {"a": "\x7f"}, {"a": 1 << 64}, {"a": {1, 2}}, {1: "a"}, {"a": BUDGET}]
)
def test_what_orjson_does_not_take_or_writes_beyond_ascii_goes_the_slow_way(data: Any) -> None:
    assert dump_quickly(data) is None


def test_without_orjson_everything_goes_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "orjson", None)
    assert dump_record(rounds()) is None
    assert dump_quickly({}) is None


@pytest.mark.parametrize("code", [*range(127)])
def test_texts_are_spelt_as_the_standard_library_spells_them(code: int) -> None:
    pytest.importorskip("orjson")
    data = {"text": [chr(code), f"x{chr(code)}y"], "number": code, "flag": True, "none": None, f"key{chr(code)}": {}}
    found = dump_quickly(data)
    assert found is not None
    assert found.decode("ascii") == dump(data)


@pytest.mark.parametrize("has_orjson", [True, False])
def test_numbers_are_spelt_alike_with_and_without_orjson(monkeypatch: pytest.MonkeyPatch, has_orjson: bool) -> None:
    if has_orjson:
        pytest.importorskip("orjson", minversion="3.13")
        assert encoding._spells_alike
    monkeypatch.setattr(encoding, "_spells_alike", has_orjson)
    numbers = [
        0.5,
        3,
        None,
        -1.5e-5,
        1e-5,
        9.99e-6,
        1.25e-7,
        1e-10,
        1e15,
        1e16,
        1e300,
        1 << 70,
        math.nan,
        math.inf,
        -0.0,
    ]
    assert spelled(numbers) == [
        *(
            "0.5",
            "3",
            "",
            "-0.000015",
            "0.00001",
            "9.99e-6",
            "1.25e-7",
            "1e-10",
            "1000000000000000.0",
            "1e+16",
            "1e+300",
        ),
        *(str(1 << 70), "", "", "-0.0"),
    ]
    assert spelled([]) == []


def test_an_orjson_that_spells_otherwise_is_not_used() -> None:
    pytest.importorskip("orjson")
    assert not encoding._all_spelt_alike([(1e16, b"1e16")])


@pytest.mark.parametrize(
    "record",
    [
        rounds(),
        rounds(values={"latency": [1, None, 0.1 + 0.2]}),
        rounds(values={"latency": [1, (1 << 64) + 1, 2]}),
        rounds(worker_values={"load_time": (1 << 64) + 1}),
        rounds(prompt="\ud800 half a character"),
        verdict(),
        verdict(budgets=[replace(BUDGET, observed=1.0, values=[(1 << 64) + 1])]),
    ],
)
def test_a_record_is_read_as_the_standard_library_reads_it(record: LogRecord) -> None:
    body = dump(json_view(record)).encode("ascii")
    found = parse_record(body)
    assert found == parse(body.decode("ascii")) == json_view(record)
    assert dump(found) == body.decode("ascii"), "a whole number stays one"


def test_what_is_no_json_is_refused() -> None:
    for body in (b'{"type":"rounds",', b"?"):
        with pytest.raises(ValueError, match="Expecting"):
            parse_record(body)
