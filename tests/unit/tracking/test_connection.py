from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from mlflow_stores import fresh_store

from pytest_llmci.errors import ConfigError, MissingExtraError, SinkError
from pytest_llmci.tracking import connection as module
from pytest_llmci.tracking.connection import DEFAULTS, NoStoreError, check_uri, complaint, connect

pytest.importorskip("mlflow")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*DEFAULTS, "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "uri",
    ["", "http://h:1", "https://u:p@h", "sqlite:///x.db", "postgresql+psycopg2://h/x", "./runs", "C:/runs", "databricks", "databricks://profile", "file:runs"],
)  # fmt: skip
def test_the_kinds_of_store_that_mlflow_knows(uri: str) -> None:
    check_uri(uri, "--llmci-mlflow")


@pytest.mark.parametrize("uri", ["ftp://h", "htp://u:secret@h:1", "mlflow-artifacts:/x", "sqlite+x3:y"])
def test_an_unknown_kind_of_store_is_one_line(uri: str) -> None:
    if uri.startswith("sqlite"):
        check_uri(uri, "x")
        return
    with pytest.raises(
        ConfigError, match=r"^--llmci-mlflow: '.*': MLflow has no store of the kind '.*'. Write an"
    ) as caught:
        check_uri(uri, "--llmci-mlflow")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_without_mlflow_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"^--llmci-mlflow needs the package 'mlflow', .*pip install 'pytest-llmci\[mlflow\]'"
    ):
        check_uri("", "--llmci-mlflow")


def test_mlflow_that_cannot_be_imported_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-llmci\[mlflow\]'"):
        connect("", "--sink")


def test_our_patience_holds_unless_the_user_has_said_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    connect(fresh_store(tmp_path), "x")
    assert {name: os.environ[name] for name in DEFAULTS} == {**DEFAULTS, "MLFLOW_HTTP_REQUEST_TIMEOUT": "77"}


def test_the_default_store_is_that_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = fresh_store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store = connect("", "x")
    assert (store.uri, store.is_remote) == (uri, False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://h")
    with pytest.raises(ConfigError, match="^MLFLOW_TRACKING_URI: 'gopher://h': MLflow has no store"):
        connect("", "x")


def test_a_store_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="^MLflow at sqlite:///.*: .*unable to open database file") as caught:
        connect(f"sqlite:///{tmp_path}", "x")
    assert "\n" not in str(caught.value)


def test_a_database_file_that_cannot_be_opened_is_told_before_mlflow_tries_for_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setattr("mlflow.MlflowClient", lambda **_: pytest.fail("MLflow was asked"))
    missing = f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}"
    with pytest.raises(
        SinkError, match="unable to open database file; give another file, in a folder that may be written"
    ):
        connect(missing, "x")


def test_each_answer_is_told_and_each_refusal_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    store = connect(fresh_store(tmp_path), "x", told.append)

    def shout(client: object) -> int:
        sys.stdout.write("View run")
        return 3

    def fail(client: object) -> None:
        raise ValueError("two\nlines at http://ann:secret@h/x?token=abc")

    assert store.ask("count", shout) == 3
    with pytest.raises(
        SinkError, match=r"^MLflow at sqlite:.*: cannot fail: two lines at http://\*\*\*@h/x\?token=\*\*\*$"
    ):
        store.ask("fail", fail)
    assert told == ["count"]
    assert capfd.readouterr().out == ""


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    store = connect("http://ann:secret@127.0.0.1:1/x", "x")
    assert store.is_remote
    assert store.shown == "http://***@127.0.0.1:1/x"
    assert "secret" not in repr(store)


def test_a_complaint_is_short_and_without_the_statement() -> None:
    assert complaint(ValueError("a\n b\n[SQL: insert secret]")) == "a b"
    assert complaint(KeyError()) == "KeyError"
    assert len(complaint(ValueError("x" * 1000))) == 300


def test_the_systems_own_words_are_at_the_bottom() -> None:
    def pile(lowest: Exception) -> Exception:
        try:
            try:
                raise lowest
            except OSError:
                raise ValueError("Max retries exceeded with url: " + "x" * 500) from None
        except ValueError as error:
            error.__suppress_context__ = False
            return error

    assert complaint(pile(ConnectionRefusedError(111, "Connection refused"))) == "Connection refused"
    assert (
        complaint(pile(FileNotFoundError(2, "No such file or directory", "a.txt")))
        == "No such file or directory: a.txt"
    )
    assert complaint(pile(TimeoutError("timed out"))) == "no answer in time"
    assert complaint(pile(OSError("odd"))).startswith("Max retries exceeded")


def test_a_server_that_is_not_there_is_told_in_the_systems_words() -> None:
    store = connect("http://127.0.0.1:9", "x")
    with pytest.raises(SinkError, match="^MLflow at http://127.0.0.1:9: cannot look: Connection refused$"):
        store.ask("look", lambda client: client.search_experiments())


def test_a_store_in_a_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(
        ConfigError,
        match="^--llmci-mlflow: 'file://.*': MLflow keeps no new runs in a folder of files. Give a file such as",
    ):
        connect(f"file://{tmp_path}/runs", "--llmci-mlflow")


@pytest.mark.parametrize("uri", ["", "sqlite:///mlflow.db", "sqlite:///empty.db", "file:runs", "./runs"])
def test_what_reads_makes_no_store(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    Path("empty.db").touch()
    with pytest.raises(
        NoStoreError, match=r"^rollback: there is no store of MLflow at '.*'; give the one that was logged"
    ):
        connect(uri, "rollback", reads=True)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.db"]
    assert Path("empty.db").stat().st_size == 0


def test_what_reads_opens_a_store_that_is_there(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    assert connect(uri, "x", reads=True).client.get_experiment("0").name == "Default"
