from __future__ import annotations

from pathlib import Path

import pytest
from mlflow_stores import fresh_store
from sample_run import rounds, usual_records, worker, write_log

from pytest_llmci.cli.main import main
from pytest_llmci.cli.report import rebuild
from pytest_llmci.errors import ConfigError
from pytest_llmci.proof.against import Against
from pytest_llmci.proof.against_mlflow import against_mlflow
from pytest_llmci.store.manifest import read_manifest, seal
from pytest_llmci.store.verify import verify_log
from pytest_llmci.tracking.connection import Connection, connect
from pytest_llmci.tracking.lookup import TrackedRun, find_children, find_run

pytest.importorskip("mlflow")
NAME = "20260101T000000Z-abcdef"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was uploaded."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "LLMCI_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", fresh_store(tmp_path / "store"))
    folder = tmp_path / "llmci-results" / NAME
    (folder / "workers").mkdir(parents=True)
    (folder / "workers" / "a-1.log").write_text("hello")
    (folder / "workers" / "b-1.log").write_text("")
    write_log(folder, usual_records())
    rebuild(folder, ["csv", "json", "mlflow"], print)
    return folder


def _connection() -> Connection:
    return connect("", "test")


def _uploaded() -> TrackedRun:
    found = find_run(_connection(), NAME)
    assert found is not None
    return found


def _against(run: Path, run_id: str = "") -> Against:
    return against_mlflow(run, verify_log(run / "log.jsonl"), run_id)


def _artifact(name: str) -> Path:
    return Path(_uploaded().artifact_uri.removeprefix("file://")) / name


def test_the_run_that_was_uploaded(run: Path) -> None:
    for run_id in ("", _uploaded().id):
        found = _against(run, run_id)
        assert found.difference == ""
        assert found.shown == (
            f"MLflow's run {_uploaded().id} is this run: llmci.log_sha256 is the digest of the log, and its 7 files are the same",
            "the table of each model follows from the log (2 of 2)",
        )
        assert found.notes == ()


@pytest.mark.parametrize(
    "name",
    ["log.jsonl", "results.csv", "summary.csv", "results.json", "metrics.json", "workers/a-1.log", "manifest.json"],
)
def test_one_flipped_byte_in_an_artifact_is_found(run: Path, name: str) -> None:
    path = _artifact(name)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    assert _against(run).difference.startswith(f"MLflow's run {_uploaded().id} has another {name} than this run: ")


def test_one_flipped_byte_in_the_table_of_a_model_is_found(run: Path) -> None:
    child = next(child for child in find_children(_connection(), _uploaded()) if child.model == "a")
    path = Path(child.artifact_uri.removeprefix("file://")) / "results.json"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    assert _against(run).difference == (
        f"MLflow's run {_uploaded().id} has another results.json in its run {child.id} of the model a than the log gives"
    )
    path.unlink()
    assert _against(run).difference.endswith(f" has no results.json in its run {child.id} of the model a")
    _connection().client.delete_run(child.id)
    assert _against(run).difference.endswith(" has no whole run of the model a below it, which this run has")


def test_the_place_in_a_table_is_named(run: Path) -> None:
    path = _artifact("results.csv")
    path.write_bytes(path.read_bytes().replace(b",0.12,0.012,", b",0.02,0.012,"))
    assert _against(run).difference.endswith("row 2, column latency: 0.02 where the run has 0.12")


def test_an_artifact_that_is_gone(run: Path) -> None:
    _artifact("workers/a-1.log").unlink()
    assert _against(run).difference.endswith(" has no file workers/a-1.log, which this run has")


def test_files_that_came_later_are_noted(run: Path) -> None:
    (run / "plot.svg").write_text("<svg/>")
    _artifact("more.txt").write_text("x")
    found = verify_log(run / "log.jsonl")
    seal(run, run=NAME, log_lines=found.lines, log_digest=found.digest)
    assert _against(run).difference == ""
    assert _against(run).notes == (
        "MLflow does not have plot.svg", "MLflow has more files, which were not looked at: more.txt",
    )  # fmt: skip


def test_a_manifest_with_another_signature(run: Path) -> None:
    found = verify_log(run / "log.jsonl")
    seal(run, run=NAME, log_lines=found.lines, log_digest=found.digest, key=b"key")
    assert read_manifest(run) is not None
    assert _against(run).difference.endswith("has another manifest.json than this run: its signature differs")


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("llmci.log_sha256", "0" * 64, "has another log: digest 0000000000000000 there, "),
        ("llmci.log_lines", "7", "has another log: 7 lines there, 10 here"),
        ("llmci.run_id", "20250101T000000Z-abcdef", f"is of another run: 20250101T000000Z-abcdef instead of {NAME}"),
        (
            "llmci.upload",
            "partial",
            "is not whole, as its upload was cut short: llmci report RUN --sink mlflow completes it",
        ),
    ],
)
def test_tags_that_say_something_else(run: Path, tag: str, value: str, said: str) -> None:
    run_id = _uploaded().id
    _connection().client.set_tag(run_id, tag, value)
    assert _against(run, run_id).difference.startswith(f"MLflow's run {run_id} {said}")


def test_runs_of_others_and_of_single_models(run: Path) -> None:
    connection = _connection()
    child = next(child for child in find_children(connection, _uploaded()) if child.model == "a")
    assert _against(run, child.id).difference == (
        f"MLflow's run {child.id} is of the model a alone: give the run above it, or --against=mlflow"
    )
    other = connection.client.create_run("0").info.run_id
    assert _against(run, other).difference.endswith("is no run of this package: it names no run folder")
    with pytest.raises(ConfigError, match="has no run 'nothing'"):
        _against(run, "nothing")


def test_a_run_that_was_never_uploaded(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", fresh_store(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=f"has no run of {NAME}; upload it with: llmci report RUN --sink mlflow"):
        _against(run)


def test_another_run_of_the_same_name(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_log(other, [worker(), rounds()])
    assert "has another log: digest " in _against(other).difference


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["verify", "--against=mlflow"]) == 0
    assert "is this run: llmci.log_sha256 is the digest of the log" in capsys.readouterr().out
    _artifact("metrics.json").write_text("{}\n")
    assert main(["verify", f"--against=mlflow:{_uploaded().id}"]) == 1
    assert capsys.readouterr().out.startswith("FAILED: MLflow's run ")


@pytest.mark.parametrize("what", ["experiment", "run"])
def test_a_run_in_the_trash_says_how_it_comes_back(run: Path, what: str) -> None:
    tracked = _uploaded()
    client = _connection().client
    if what == "experiment":
        client.delete_experiment(tracked.experiment_id)
        command = f"mlflow experiments restore --experiment-id {tracked.experiment_id}"
    else:
        client.delete_run(tracked.id)
        command = f"mlflow runs restore --run-id {tracked.id}"
    with pytest.raises(ConfigError, match=rf"was deleted: restore (its experiment|it): {command}$"):
        _against(run)
