from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sample_run import header, rounds, verdict, worker

from pytest_llmci.errors import ConfigError, SchemaVersionError, StoreError
from pytest_llmci.records import GenerationSettings, LogRecord, Prompt
from pytest_llmci.store.baseline import (
    BaselineRecord,
    baseline_text,
    choose,
    find,
    list_baselines,
    load,
    protocol_differences,
    prune,
    save,
)
from pytest_llmci.store.baseline_log import baseline_of_log
from pytest_llmci.store.comparability import (
    Part,
    environment_part,
    machine_part,
    planned_protocol,
    prompt_sha256,
    protocol_part,
)
from pytest_llmci.text import shown_path

MACHINE: dict[str, Any] = {"machine": "x86_64", "cpu_model": "A processor", "cores_allowed": 2, "kernel": "6.1"}
LATER: dict[str, Any] = {**MACHINE, "cpu_model": "Another", "cores_allowed": 8}
NOW = datetime(2026, 7, 1, tzinfo=UTC)
HERE = machine_part(MACHINE)


def baseline(
    *cells: str,
    name: str = "main",
    facts: dict[str, Any] = MACHINE,
    days_old: float = 1,
    latency_ms: float = 100,
    **info: Any,
) -> BaselineRecord:
    blocks = [rounds(cell, prompt_id=cell, latencies_ms=(latency_ms,) * 2) for cell in cells or ("tcp",)]
    records: list[LogRecord] = [header(environment=facts), worker(info=info), *blocks, verdict(prompt_id="tcp")]
    return baseline_of_log(records, name, saved=NOW - timedelta(days=days_old))


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


# ----------------------------------------------------------------------------------------------------------- choosing


def test_the_file_of_this_machine_is_chosen(tmp_path: Path) -> None:
    save(baseline(facts=LATER, days_old=0), tmp_path)
    path = save(baseline(), tmp_path).path
    chosen = choose(tmp_path, "main", HERE, now=NOW)
    assert (chosen.name, chosen.path, chosen.differences, chosen.warnings) == ("main", path, (), ())
    assert chosen.same_environment
    assert choose(tmp_path, "main", environment_part(MACHINE), now=NOW).path == path


def test_else_the_one_that_is_most_like_it(tmp_path: Path) -> None:
    save(baseline(facts={**LATER, "machine": "arm64"}, days_old=0), tmp_path)
    path = save(baseline(facts=LATER), tmp_path).path
    chosen = choose(tmp_path, "main", HERE, now=NOW)
    assert chosen.path == path
    assert list(map(str, chosen.differences)) == ["cores_allowed: 8 -> 2", "cpu_model: Another -> A processor"]
    assert not chosen.same_environment


def test_the_accelerator_counts_once_it_is_known(tmp_path: Path) -> None:
    one = save(baseline(device_name="One", days_old=2), tmp_path).path
    two = save(baseline(device_name="Two", days_old=1), tmp_path).path
    assert choose(tmp_path, "main", HERE, now=NOW).path == two  # the newest, as long as nobody knows
    chosen = choose(tmp_path, "main", environment_part(MACHINE, {"device_name": "One"}), now=NOW)
    assert (chosen.path, chosen.differences) == (one, ())


@pytest.mark.parametrize(("days", "warns"), [(89, False), (91, True)])
def test_an_old_one_warns(tmp_path: Path, days: int, warns: bool) -> None:
    save(baseline(days_old=days), tmp_path)
    warnings = choose(tmp_path, "main", HERE, now=NOW, measuring="pytest --llmci").warnings
    assert bool(warnings) is warns
    if warns:
        assert "baseline main is 91 days old" in warnings[0]
        assert warnings[0].endswith("pytest --llmci --llmci-save-baseline=main")


def test_a_path_names_a_file_or_a_folder(tmp_path: Path) -> None:
    path = save(baseline(), tmp_path / "kept").path
    nowhere = tmp_path / "nowhere"
    for text, base in [
        (str(path), None),
        (str(path.parent), None),
        (f"main/{path.name}", path.parents[1]),
        ("./main", path.parents[1]),
        (path.name, path.parent),
    ]:
        assert choose(nowhere, text, HERE, base=base, now=NOW).path == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("release", "there is no baseline 'release'; {root} holds main, old. Make one: pytest -x --llmci-save-baseline=release"),
        ("./release", "'./release' is no baseline's file and no folder of them; {root} holds main, old. Make one: .*=main"),
        ("mlflow:x@y", "there is no baseline 'mlflow:x@y'; .*=main"),
        ("", "there is no baseline ''; .*=main"),
    ],
)  # fmt: skip
def test_none_of_that_name(tmp_path: Path, name: str, message: str) -> None:
    save(baseline(name="main"), tmp_path)
    save(baseline(name="old"), tmp_path)
    with pytest.raises(ConfigError, match=message.format(root=re.escape(shown_path(tmp_path)))) as caught:
        find(tmp_path, name, tmp_path, "pytest -x")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(
        ConfigError, match="holds none. Make one: add --llmci-save-baseline=main to the pytest command that measures"
    ):
        find(tmp_path / "empty", "main")


def test_listing_tells_what_cannot_be_read(tmp_path: Path) -> None:
    save(baseline(name="b"), tmp_path)
    path = save(baseline(name="a"), tmp_path).path
    path.write_text("{}", "utf-8")
    tmp_path.joinpath("accepted.toml").write_text("", "utf-8")
    found = list_baselines(tmp_path)
    assert [(file.name, file.record is None) for file in found] == [("a", True), ("b", False)]
    assert "is no baseline" in found[0].error
    assert list_baselines(tmp_path / "nowhere") == []


# ----------------------------------------------------------------------------------------------------------- protocol


def test_where_a_cell_is_asked_otherwise() -> None:
    record = baseline()
    prompt, generation = Prompt(id="tcp", text="What is UDP?"), GenerationSettings(max_new_tokens=50)
    planned = planned_protocol(prompt, generation, isolation="worker", threads=1)
    told = protocol_differences(record, "a-tcp", planned)
    assert told is not None
    assert [each.name for each in told] == ["prompt_sha256", "threads"]
    longer = planned_protocol(prompt, replace(generation, max_new_tokens=7), isolation="inline")
    told = protocol_differences(record, "a-tcp", longer)
    assert told is not None
    assert list(map(str, told[:2])) == ["isolation: worker -> inline", "max_new_tokens: 50 -> 7"]
    assert protocol_differences(record, "a-new", planned) is None


def test_what_is_planned_is_what_is_measured() -> None:
    prompt, generation = Prompt(id="tcp", text="What is TCP?"), GenerationSettings(seed=3)
    planned = planned_protocol(prompt, generation, isolation="worker", threads=1)
    block = rounds(prompt=prompt.shown, prompt_sha256=prompt_sha256(prompt), generation=generation)
    measured = protocol_part(block, worker(info={"threads": 1})).facts
    assert Part({name: measured[name] for name in planned.facts}) == planned


# ------------------------------------------------------------------------------------------------------------ pruning


def test_old_sessions_go_and_files_without_any(tmp_path: Path) -> None:
    save(baseline(name="old", days_old=100), tmp_path)
    save(baseline("dns", days_old=100), tmp_path)
    kept = save(baseline(days_old=10), tmp_path, append=True).path
    before = kept.read_bytes()
    dry = prune(tmp_path, now=NOW, dry_run=True)
    assert kept.read_bytes() == before
    found = prune(tmp_path, now=NOW)
    assert found == dry
    assert [(each.path.parent.name, len(each.sessions), each.deleted) for each in found] == [
        ("main", 1, False),
        ("old", 1, True),
    ]
    assert not (tmp_path / "old").exists()
    record = load(kept)
    assert len(record.sessions) == 1
    assert [row.id for row in record.prompts.values()] == ["tcp"]
    assert prune(tmp_path, now=NOW) == []


def test_pruning_one_name(tmp_path: Path) -> None:
    save(baseline(name="old", days_old=100), tmp_path)
    save(baseline(days_old=100), tmp_path)
    assert [each.path.parent.name for each in prune(tmp_path, name="main", now=NOW)] == ["main"]
    assert [file.name for file in list_baselines(tmp_path)] == ["old"]
    with pytest.raises(ConfigError, match="there is no baseline 'main'"):
        prune(tmp_path, name="main", now=NOW)


def test_pruning_leaves_what_it_cannot_read(tmp_path: Path) -> None:
    path = save(baseline(days_old=100), tmp_path).path
    path.write_text("{}", "utf-8")
    assert prune(tmp_path, timedelta(days=1), now=NOW) == []
    assert path.exists()
