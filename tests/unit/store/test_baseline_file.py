from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_baseline import LATER, baseline

from pytest_llmci.errors import SchemaVersionError, StoreError
from pytest_llmci.store.baseline_file import baseline_text, load, save
from pytest_llmci.store.baseline_record import BaselineRecord

# ------------------------------------------------------------------------------------------------------------- saving


def test_a_file_for_each_name_and_machine(tmp_path: Path) -> None:
    here, there = baseline(), baseline(facts=LATER)
    saved = save(here, tmp_path / "kept")
    assert saved.path == tmp_path / "kept" / "main" / f"{here.environment_digest}.json"
    assert save(there, tmp_path / "kept").path != saved.path
    assert save(baseline(name="other"), tmp_path / "kept").path != saved.path
    assert load(saved.path) == here == saved.record
    assert [path.name for path in saved.path.parent.iterdir() if path.name.startswith(".")] == []


def latencies(record: BaselineRecord) -> list[list[float]]:
    """Of the only cell, by session."""
    return [record.values(session.cells[0], "latency") for session in record.sessions]


def test_saving_replaces_and_names_what_is_gone(tmp_path: Path) -> None:
    save(baseline("tcp", "dns", "ftp"), tmp_path)
    saved = save(baseline("tcp", latency_ms=200), tmp_path)
    assert saved.dropped == ("a-dns", "a-ftp")
    record = load(saved.path)
    assert len(record.sessions) == 1
    assert latencies(record) == [[0.2, 0.2]]


def test_updating_keeps_the_newest_ten_sessions(tmp_path: Path) -> None:
    for number in range(1, 13):
        saved = save(baseline(latency_ms=number, days_old=20 - number), tmp_path, append=True)
    record = load(saved.path)
    assert [sample[0] for sample in latencies(record)] == [number / 1000 for number in range(3, 13)]
    assert record.newest.saved == record.sessions[-1].saved
    cell = record.cell("a-tcp")
    assert cell is not None and record.values(cell, "latency") == [0.012, 0.012]


def test_a_number_beyond_all_numbers_is_none(tmp_path: Path) -> None:
    path = save(baseline(), tmp_path).path
    path.write_text(path.read_text("utf-8").replace("[100000000,", "[1e999,"), "utf-8")
    with pytest.raises(StoreError, match="cell a-tcp: latency holds a number that is not finite"):
        load(path)


def test_rows_and_metrics_of_older_sessions_stay_as_long_as_they_do(tmp_path: Path) -> None:
    old = baseline("tcp")
    new = baseline("dns")
    new = replace(new, metrics=[metric for metric in new.metrics if metric.name != "ttft"])
    save(old, tmp_path)
    record = save(new, tmp_path, append=True).record
    assert sorted(row.id for row in record.prompts.values()) == ["dns", "tcp"]
    assert {metric.name for metric in record.metrics} == {metric.name for metric in old.metrics}
    for _ in range(10):
        record = save(new, tmp_path, append=True).record
    assert [row.id for row in record.prompts.values()] == ["dns"]


def test_a_change_of_one_cell_changes_one_line(tmp_path: Path) -> None:
    before = baseline_text(baseline("tcp", "dns")).splitlines()
    record = baseline("tcp", "dns")
    cells = record.newest.cells
    changed = replace(record, sessions=[replace(record.newest, cells=[cells[0], replace(cells[1], noisy_rounds=1)])])
    after = baseline_text(changed).splitlines()
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_what_is_there_and_unreadable_is_replaced_and_never_added_to(tmp_path: Path) -> None:
    path = save(baseline(), tmp_path).path
    path.write_text("scribble", "utf-8")
    with pytest.raises(StoreError, match="line 1 is not JSON.* Its sessions cannot be kept: mend it, or replace it"):
        save(baseline(), tmp_path, append=True)
    save(baseline(), tmp_path)
    assert load(path).name == "main"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    tmp_path.joinpath("main").write_text("", "utf-8")
    with pytest.raises(StoreError, match="main/.*json: cannot be written: "):
        save(baseline(), tmp_path)


# ------------------------------------------------------------------------------------------------------------ reading


def edited(tmp_path: Path, change: Any) -> Path:
    path = save(baseline(), tmp_path).path
    data = json.loads(path.read_text("utf-8"))
    change(data)
    path.write_text(json.dumps(data), "utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(schema="llmci-baseline/99"), "schema 'llmci-baseline/99' is not known.* or save it again"),
        (lambda data: data.update(schema="other/1"), "is no baseline: its 'schema' is 'other/1', expected 'llmci-baseline/1'"),
        (lambda data: data.pop("schema"), "is no baseline: its 'schema' is None"),
        (lambda data: data.pop("sessions"), "key 'sessions' is missing"),
        (lambda data: data.update(sessions=[]), "it holds no session"),
        (lambda data: data["sessions"][0].update(saved="yesterday"), "'yesterday' is no time"),
        (lambda data: data["prompts"].clear(), "cell a-tcp: prompt 'tcp@.*' is not in the file"),
        (lambda data: data["sessions"][0]["cells"][0].update(rounds="two"), "BaselineCell.rounds: expected int, found str"),
        (lambda data: data["sessions"][0]["cells"][0].update(processes=[1]), "processes does not have its 2 rounds"),
        (lambda data: data["sessions"][0]["cells"][0]["samples"]["latency"].pop(), "latency does not have its 2 rounds"),
        (lambda data: data["sessions"][0]["cells"][0]["samples"]["latency"].__setitem__(0, float("nan")), "NaN is no measured number"),
        (lambda data: data["sessions"][0]["cells"][0]["samples"]["latency"].__setitem__(0, float("1e999")), "Infinity is no measured number"),
        (lambda data: data["sessions"][0]["cells"][0].update(output_of_round=[0, 5]), "an output that is not listed"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, change: Any, message: str) -> None:
    path = edited(tmp_path, change)
    with pytest.raises(StoreError, match=message) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert path.name in str(caught.value)
    assert isinstance(caught.value, SchemaVersionError) == ("/99" in message)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[]", "is no baseline"), (b"{", "line 1 is not JSON"), (b"\xff", "is not JSON"), (b"[" * 99999, "is not JSON")],
)  # fmt: skip
def test_a_file_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=message):
        load(path)


def test_keys_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    assert load(edited(tmp_path, lambda data: data.update(later=1))) == baseline()
