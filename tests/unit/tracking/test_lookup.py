from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow_stores import open_store

from pytest_llmci.errors import ConfigError, SinkError
from pytest_llmci.tracking.connection import Connection
from pytest_llmci.tracking.layout import LOG_TAG, MODEL_TAG, OF_RUN_TAG, PARENT_TAG, RUN_ID_TAG, UPLOAD_TAG
from pytest_llmci.tracking.lookup import (
    TrackedRun,
    download,
    find_children,
    find_run,
    find_runs,
    get_run,
    list_artifacts,
)

pytest.importorskip("mlflow")
NAME = "20260101T000000Z-abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Connection:
    return open_store(tmp_path / "store")


def make(store: Connection, tags: dict[str, str], experiment: str = "0", **facts: Any) -> str:
    return str(store.client.create_run(experiment, tags=tags, **facts).info.run_id)


def test_a_run_is_found_in_whichever_experiment(store: Connection, tmp_path: Path) -> None:
    other = store.client.create_experiment("elsewhere", artifact_location=str(tmp_path / "artifacts"))
    made = make(store, {RUN_ID_TAG: NAME, LOG_TAG: "ab"}, other)
    make(store, {RUN_ID_TAG: NAME + "0"})
    make(store, {OF_RUN_TAG: NAME, MODEL_TAG: "a"})
    store.client.log_metric(made, "latency.median", 1.5)
    store.client.log_param(made, "rounds", 3)
    found = find_run(store, NAME)
    assert isinstance(found, TrackedRun)
    assert (found.id, found.experiment_id, found.run_id, found.model, found.tags[LOG_TAG]) == (
        made,
        other,
        NAME,
        "",
        "ab",
    )
    assert (found.metrics, found.params, found.is_whole) == ({"latency.median": 1.5}, {"rounds": "3"}, False)
    assert get_run(store, made) == found
    assert find_run(store, "nothing") is None


def test_a_whole_one_then_the_oldest_comes_first(store: Connection) -> None:
    young = make(store, {RUN_ID_TAG: NAME}, start_time=2)
    old = make(store, {RUN_ID_TAG: NAME}, start_time=1)
    whole = make(store, {RUN_ID_TAG: NAME, UPLOAD_TAG: "whole"}, start_time=3)
    make(store, {RUN_ID_TAG: NAME + "1", UPLOAD_TAG: "whole"})  # it was not ended: something was cut short
    store.client.set_terminated(whole)
    assert [run.id for run in find_runs(store, NAME)] == [whole, old, young]
    assert [run.is_whole for run in find_runs(store, NAME + "1")] == [False]


def test_a_deleted_run_does_not_count(store: Connection) -> None:
    store.client.delete_run(make(store, {RUN_ID_TAG: NAME}))
    assert find_run(store, NAME) is None


def test_children_are_those_of_the_run(store: Connection) -> None:
    parent, other = make(store, {RUN_ID_TAG: NAME}), make(store, {})
    child = make(store, {PARENT_TAG: parent, MODEL_TAG: "a", OF_RUN_TAG: NAME})
    make(store, {PARENT_TAG: other, MODEL_TAG: "a"})
    found = find_children(store, get_run(store, parent))
    assert [(run.id, run.model, run.run_id) for run in found] == [(child, "a", NAME)]


def test_an_unknown_id_is_bad_input(store: Connection) -> None:
    with pytest.raises(ConfigError, match="has no run 'abc'. Its id stands in the address of its page"):
        get_run(store, "abc")


def test_files_are_listed_and_copied(store: Connection, tmp_path: Path) -> None:
    run = make(store, {})
    (tmp_path / "log.jsonl").write_bytes(b"{}\n")
    (tmp_path / "a.png").write_bytes(b"png")
    store.client.log_artifact(run, str(tmp_path / "log.jsonl"))
    store.client.log_artifact(run, str(tmp_path / "a.png"), "plots/small")
    assert list_artifacts(store, run) == {"log.jsonl": 3, "plots/small/a.png": 3}
    for name, content in [("log.jsonl", b"{}\n"), ("plots/small/a.png", b"png")]:
        copy = download(store, run, name, tmp_path / "new" / "folder")
        assert (copy, copy.read_bytes()) == (tmp_path / "new" / "folder" / name, content)


@pytest.mark.parametrize("name", ["other.json", "plots", "plots/none.png", ""])
def test_a_file_that_is_not_there_is_bad_input(store: Connection, tmp_path: Path, name: str) -> None:
    run = make(store, {})
    (tmp_path / "a.png").write_bytes(b"png")
    store.client.log_artifact(run, str(tmp_path / "a.png"), "plots")
    with pytest.raises(ConfigError, match=f"has no file '{name}'"):
        download(store, run, name, tmp_path / "new")


def test_a_folder_that_cannot_be_made_is_one_line(store: Connection, tmp_path: Path) -> None:
    run = make(store, {})
    (tmp_path / "log.jsonl").write_bytes(b"{}")
    store.client.log_artifact(run, str(tmp_path / "log.jsonl"))
    with pytest.raises(SinkError, match="log.jsonl: cannot be written: Not a directory"):
        download(store, run, "log.jsonl", tmp_path / "log.jsonl" / "new")
