from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

from mlflow_stores import open_store
from registered import log_run
from stored_runs import simple, write_run

from pytest_llmci.errors import ConfigError
from pytest_llmci.promotion.baseline import fetch_baseline, promoted_baseline
from pytest_llmci.promotion.promote import Wanted, promote
from pytest_llmci.store.baseline_file import load
from pytest_llmci.store.baseline_folder import choose
from pytest_llmci.store.comparability import machine_part
from pytest_llmci.tracking.connection import Connection


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    """A store in which model b of a run of two is the champion of a registered model."""
    connection = open_store(tmp_path / "store")
    folder = write_run(tmp_path, 1, [*simple(model="a"), *simple(model="b", info={"revision": "c" * 40})])
    log_run(connection, folder)
    assert (
        promote(lambda: connection, Wanted(name="My model", folder=folder, model="b", cache=tmp_path)).outcome
        == "promoted"
    )
    return connection


def test_the_promoted_model_alone_is_the_baseline(connection: Connection, tmp_path: Path) -> None:
    found = promoted_baseline(connection, "My model@champion", "x", cache=tmp_path)
    record = load(found.path)
    assert (found.version, record.name) == (1, "My-model-v1")
    assert {cell.id for cell in record.newest.cells} == {"b-tcp", "b-dns"}
    assert [model.alias for model in record.newest.models] == ["b"]
    assert record.newest.saved == "2026-01-02T00:00:00.000Z"  # it is as old as its run
    late = datetime(2026, 7, 1, tzinfo=UTC)
    chosen = choose(tmp_path, str(found.path), machine_part({}), now=late, registered="My model@champion")
    assert chosen.name == "My model@champion"
    assert chosen.warnings[0].endswith("renew it: llmci promote My model --alias champion")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("My model@canary", r"^x: registered model 'My model' has no alias 'canary'. It has champion \(version 1\)"),
        ("My modell@champion", "has no registered model 'My modell'. Did you mean 'My model'"),
        ("My model@", "^x: 'My model@' must have the form NAME@ALIAS, such as assistant@champion."),
        ("My model@latest", "^x: 'latest' is no alias"),
    ],
)
def test_what_does_not_exist(connection: Connection, tmp_path: Path, asked: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        promoted_baseline(connection, asked, "x", cache=tmp_path)


def test_a_run_without_measured_rounds_is_none(tmp_path: Path) -> None:
    connection = open_store(tmp_path / "store")
    folder = write_run(tmp_path, 1, simple(origin="call"))
    log_run(connection, folder)
    promote(lambda: connection, Wanted(name="m", folder=folder, cache=tmp_path))
    with pytest.raises(ConfigError, match="x: m version 1 cannot be compared with: no cell has a finished block"):
        promoted_baseline(connection, "m@champion", "x", cache=tmp_path)


def test_one_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def run(command: list[str], **options: Any) -> None:
        asked.append(options["timeout"])
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ConfigError, match="--llmci-baseline: MLflow did not give a@b within 60 s"):
        fetch_baseline("a@b", "", "--llmci-baseline")
    assert asked == [60.0]


def test_a_process_that_dies_says_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pytest_llmci.promotion.baseline._START", "import sys; print('half'); sys.exit('the end')  # {place}"
    )
    with pytest.raises(ConfigError, match=r"asking MLflow for a@b failed \(exit status 1\): the end"):
        fetch_baseline("a@b", "", "--llmci-baseline")
