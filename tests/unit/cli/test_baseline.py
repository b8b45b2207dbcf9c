from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sample_run import header, rounds, usual_records, verdict, worker, write_log

from pytest_llmci.cli.main import main
from pytest_llmci.records import ComparisonResult, LogRecord
from pytest_llmci.store.accepted import read_accepted
from pytest_llmci.store.baseline_file import save
from pytest_llmci.store.baseline_folder import list_baselines
from pytest_llmci.store.baseline_log import baseline_of_log

ROOT = Path("llmci-baselines")
RUN = "20260101T000000Z-abcdef"
MACHINE: dict[str, Any] = {
    "machine": "x86_64", "cpu_model": "A processor", "cores_allowed": 2, "kernel": "6.1",
    "git": {"commit": "c0ffee" * 6, "branch": "main", "dirty": True},
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(name: str = "main", *, days_old: float = 1, root: Path = ROOT, append: bool = False) -> Path:
    records: list[LogRecord] = [
        header(environment=MACHINE),
        worker(),
        rounds(),
        rounds("r2", prompt_id="dns"),
        verdict(),
    ]
    saved = datetime.now(UTC) - timedelta(days=days_old)
    return save(baseline_of_log(records, name, saved=saved), root, append=append).path


def prove(*found: ComparisonResult) -> None:
    run = Path("llmci-results") / RUN
    run.mkdir(parents=True)
    write_log(run, [*usual_records(), verdict("v7", "c", "tcp", comparisons=list(found))])


def regressed(metric: str, high: float) -> ComparisonResult:
    return ComparisonResult(
        metric=metric,
        mode="interleaved",
        verdict="regressed",
        against="main",
        base=1,
        candidate=2,
        change=0.05,
        high=high,
    )


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["baseline", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_list_tells_names_machines_and_what_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    path = keep()
    keep("release").write_text("{}", "utf-8")
    told(capsys, "accept", "a-*", "--metric=latency", "--up-to=10%", "--reason=meant", "--expires=2999-01-01")
    lines = told(capsys, "list")
    assert lines[0].split() == ["baseline", "saved", "sessions", "cells", "machine", "file"]
    assert lines[1].split()[0] == "main"
    assert "1         2      A processor, 2 cores" in lines[1]
    assert lines[1].endswith(str(path))
    assert "unreadable" in lines[2] and "is no baseline" in lines[2]
    assert lines[3] == "accepted: latency of a-* up to 10% until 2999-01-01: meant"


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    path = keep()
    data = json.loads("\n".join(told(capsys, "list", "--json")))
    assert [(each["name"], each["path"], each["error"]) for each in data] == [("main", str(path), None)]
    assert data[0]["environment"]["cpu_model"] == "A processor"
    assert data[0]["sessions"][0]["cells"] == 2


def test_without_any_the_command_that_makes_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "list") == [
        "llmci-baselines holds no baseline. Make one: add --llmci-save-baseline=main to the pytest command that measures"
    ]
    assert json.loads("\n".join(told(capsys, "list", "--json"))) == []


def test_show_tells_where_it_came_from_and_what_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    path = keep()
    keep(append=True, days_old=0)
    text = "\n".join(lines := told(capsys, "show", "main"))
    assert lines[0] == f"main: {path}"
    assert "cpu_model A processor" in text
    assert text.count(f"run {RUN}, commit c0ffeec0ffee (changed), 2 cells") == 2
    assert "model     a: a=echo" in text
    assert lines[-2].split() == ["a-dns", "3", "1", "110", "ms", "n/a", "238", "MiB"]
    assert told(capsys, "show", str(path)) == lines


def test_show_as_json_is_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    path = keep()
    data = json.loads("\n".join(told(capsys, "show", "main", "--json")))
    assert data[0].pop("path") == str(path)
    assert data[0]["sessions"][0]["cells"][0]["id"] == "a-dns"
    assert data[0].keys() >= json.loads(path.read_text("utf-8")).keys()


def test_accept_takes_what_the_latest_run_proved(capsys: pytest.CaptureFixture[str]) -> None:
    prove(regressed("latency", 0.071), regressed("cpu_time", 0.06))
    before = datetime.now(UTC).date()
    lines = told(capsys, "accept", "c-tcp", "--reason", 'it "checks" more', "--by=Ada")
    assert [line.partition(" until ")[0] for line in lines[:2]] == [
        "accepted: latency of c-tcp up to 8%",
        "accepted: cpu_time of c-tcp up to 6%",
    ]
    assert lines[-1] == "wrote llmci-baselines/accepted.toml: commit it"
    entries = read_accepted(ROOT).entries
    today = entries[0].when
    assert today is not None and before <= today <= datetime.now(UTC).date()
    assert [(entry.metric, entry.up_to, entry.by, entry.when) for entry in entries] == [
        ("latency", 0.08, "Ada", today),
        ("cpu_time", 0.06, "Ada", today),
    ]
    assert {entry.expires - today for entry in entries} == {timedelta(days=90)}
    assert {entry.reason for entry in entries} == {'it "checks" more'}


def test_accept_may_name_the_metric_or_the_size(capsys: pytest.CaptureFixture[str]) -> None:
    prove(regressed("latency", 0.071), regressed("cpu_time", 0.06))
    told(capsys, "accept", "c-*", "--metric=cpu_time", "--reason=meant", f"--run={RUN}", "--output=llmci-results")
    told(capsys, "accept", "c-*", "--up-to=50%", "--reason=meant")
    assert [(entry.cell, entry.metric, entry.up_to) for entry in read_accepted(ROOT).entries] == [
        ("c-tcp", "cpu_time", 0.06),
        ("c-tcp", "latency", 0.5),
        ("c-tcp", "cpu_time", 0.5),
    ]


def test_accept_needs_no_run_where_all_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    keep()
    arguments = ("--metric=latency", "--up-to=2.5%", "--reason=meant", "--expires=2999-01-01")
    assert len(told(capsys, "accept", "a-*", *arguments)) == 2
    assert "note: no baseline has a cell that 'b-*' names" in told(capsys, "accept", "b-*", *arguments)


def test_prune_says_what_went(capsys: pytest.CaptureFixture[str]) -> None:
    old, kept = keep("old", days_old=100), keep(days_old=100)
    keep(append=True)
    expected = [f"{kept}: took out the 1 oldest of its sessions", f"{old}: took out the whole file"]
    dry = told(capsys, "prune", "--dry-run")
    assert dry == [line.replace("took", "would take") for line in expected]
    assert told(capsys, "prune", "--older-than=101d") == ["nothing is older than 101 days"]
    assert told(capsys, "prune", "--older-than", "90d") == expected
    assert [file.name for file in list_baselines(ROOT)] == ["main"]


def test_prune_of_one_name_and_of_another_folder(capsys: pytest.CaptureFixture[str]) -> None:
    keep("old", days_old=100)
    other = keep("other", days_old=100, root=Path("kept"))
    assert told(capsys, "prune", "--name=other", "--baselines=kept") == [f"{other}: took out the whole file"]
    assert [file.name for file in list_baselines(ROOT)] == ["old"]


def test_prune_names_what_has_expired(capsys: pytest.CaptureFixture[str]) -> None:
    ROOT.mkdir()
    ROOT.joinpath("accepted.toml").write_text(
        '[[accepted]]\ncell = "a"\nmetric = "latency"\nup_to = "5%"\nreason = "x"\nexpires = 2020-01-01\n', "utf-8"
    )
    entry = "latency of a up to 5% until 2020-01-01: x"
    assert told(capsys, "prune")[-1] == f"expired, take it out of accepted.toml: {entry}"
    assert told(capsys, "list")[-1] == f"expired: {entry}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing"], "there is no baseline 'nothing'; llmci-baselines holds none"),
        (["accept", "a-tcp"], "the following arguments are required: --reason"),
        (["accept", "a-tcp", "--reason= "], "--reason: the text is empty"),
        (["accept", "a-tcp", "--reason=x"], "no run 'latest' in 'llmci-results'"),
        (["accept", "a-tcp", "--reason=x", "--up-to=ten"], "--up-to: 'ten' is no size of a change"),
        (["accept", "a-tcp", "--reason=x", "--expires=soon"], "--expires: 'soon' is no date"),
        (["accept", "a-tcp", "--reason=x", "--expires=2020-01-01"], "--expires: 2020-01-01 has passed"),
        (["prune", "--older-than=soon"], "--older-than: 'soon' is no number of days; write it like 90d"),
        (["prune", "--name=nothing"], "there is no baseline 'nothing'"),
        (["lost"], "invalid choice: 'lost'"),
        ([], "the following arguments are required: ACTION"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_4(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["baseline", *arguments]) == 4
    shown = capsys.readouterr()
    assert message in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")


def test_a_run_without_a_regression_accepts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    prove(regressed("latency", 0.06))
    assert main(["baseline", "accept", "a-tcp", "--reason=x"]) == 4
    assert (
        f"run llmci-results/{RUN} proved no regression of 'a-tcp': give --metric and --up-to" in capsys.readouterr().err
    )
    assert not ROOT.exists()


def test_a_run_that_was_given_by_its_path_is_called_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    prove(regressed("latency", 0.06))
    Path("kept").mkdir()
    Path("llmci-results", RUN).rename("kept/latest")
    assert main(["baseline", "accept", "a-tcp", "--reason=x", "--run=kept/latest"]) == 4
    assert "run kept/latest proved no regression" in capsys.readouterr().err
