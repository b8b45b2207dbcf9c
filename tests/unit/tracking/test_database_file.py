from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow_stores import fresh_store

from pytest_llmci.errors import SinkError
from pytest_llmci.tracking.connection import connect
from pytest_llmci.tracking.database_file import database_file, half_made, is_new, make_store

ROOT = str(Path(__file__).parents[3])
KILLED_AT_A_STATEMENT = """
from sqlalchemy import event
from sqlalchemy.engine import Engine
count = 0
@event.listens_for(Engine, "after_cursor_execute")
def _(*_):
    global count
    count += 1
    if count == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_AT_A_PAGE = """
import sqlite3
from functools import partial
class Dying(sqlite3.Connection):
    def backup(self, target):
        def die(status, remaining, total):
            if remaining <= total - {at}:
                os.kill(os.getpid(), signal.SIGKILL)
        super().backup(target, pages=1, progress=die)
sqlite3.connect = partial(sqlite3.connect, factory=Dying)
"""


def connect_and_die(uri: str, plan: str) -> None:
    code = (
        f"import os, signal, sys\nsys.path.insert(0, {ROOT!r})\n{plan}\n"
        f"from pytest_llmci.tracking.connection import connect\nconnect({uri!r}, 'x', alone=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(KILLED_AT_A_STATEMENT.format(at=120), id="in the middle of the migrations"),
        pytest.param(KILLED_AT_A_STATEMENT.format(at=5), id="at the first tables", marks=pytest.mark.slow),
        pytest.param(KILLED_AT_A_STATEMENT.format(at=250), id="at later migrations", marks=pytest.mark.slow),
        pytest.param(KILLED_AT_A_PAGE.format(at=40), id="while it is copied", marks=pytest.mark.slow),
    ],
)
def test_a_store_that_was_cut_off_when_it_was_made_is_made_the_next_time(tmp_path: Path, plan: str) -> None:
    pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    connect_and_die(uri, plan)
    assert is_new(str(tmp_path / "mlflow.db"), uri)
    told: list[str] = []
    store = connect(uri, "x", told.append)
    assert store.client.get_experiment("0").name == "Default"
    assert told == ["load MLflow", "make the tables of the store"]


def table(path: str, name: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"create table {name} (x)")


def test_what_another_process_put_there_meanwhile_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "mlflow.db")

    def make(aside: str) -> None:
        table(database_file(aside), "ours")
        table(path, "theirs")

    make_store(path, f"sqlite:///{path}", make)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("select name from sqlite_master").fetchall() == [("theirs",)]


def test_a_new_store_is_a_copy(tmp_path: Path) -> None:
    path = str(tmp_path / "mlflow.db")
    assert is_new(path, "x")
    make_store(path, "x", lambda aside: table(database_file(aside), "ours"))
    assert not is_new(path, "x")


@pytest.mark.parametrize("path", ["none/mlflow.db", "."])
def test_a_file_that_cannot_be_made_is_one_line(tmp_path: Path, path: str) -> None:
    with pytest.raises(
        SinkError, match="^MLflow at sqlite:///x: unable to open database file; give another file, in a folder"
    ):
        is_new(str(tmp_path / path), "sqlite:///x")


def test_a_file_that_is_no_database_is_left_to_mlflow(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is no database" * 100)
    assert not is_new(str(tmp_path / "x.db"), "x")
    assert half_made(str(tmp_path / "x.db")) == ""


def test_a_file_that_mlflow_left_half_made_says_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    path = tmp_path / "half.db"
    uri = fresh_store(tmp_path)
    shutil.copy(database_file(uri), path)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("drop table latest_metrics")  # of a late migration, and missing
        database.execute("delete from alembic_version")
    before = path.read_bytes()
    with pytest.raises(SinkError, match=r"^MLflow at sqlite:///.*half\.db: its tables are half made, .* mv \S+half\.db \S+half\.db\.half-made$") as caught:  # fmt: skip
        connect(f"sqlite:///{path}", "x")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before or half_made(str(path))


def test_nobody_is_told_to_move_a_file_that_holds_a_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    uri = fresh_store(tmp_path)
    path = database_file(uri)
    assert half_made(path)
    connect(uri, "x").client.create_run("0")
    assert half_made(path) == ""


@pytest.mark.parametrize(
    ("uri", "path"),
    [("sqlite:////a/b.db?x=1", "/a/b.db"), ("sqlite:///b.db", "b.db"), ("sqlite:///:memory:", ""), ("http://h", "")],
)
def test_the_file_of_a_store(uri: str, path: str) -> None:
    assert database_file(uri) == path
