"""MLflow stores in a SQLite file: the migrations of a fresh one take seconds, so that they run once and the file is copied."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from pytest_llmci.tracking.connection import Connection, connect
from pytest_llmci.tracking.layout import RUN_ID_TAG
from pytest_llmci.tracking.lookup import download, find_children, find_runs, list_artifacts, tracked


@lru_cache(maxsize=1)
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="llmci-mlflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    connect(f"sqlite:///{folder}/mlflow.db", "test").client.search_experiments()
    return folder / "mlflow.db"


def fresh_store(folder: Path) -> str:
    """The address of a store of its own in the folder, without any run, whose artifacts lie there too."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_template(), folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    import sqlite3

    with sqlite3.connect(folder / "mlflow.db") as store:  # of the experiment that every store has
        store.execute("update experiments set artifact_location = ?", (f"{folder}/artifacts/0",))
    store.close()
    return uri


def load_all_of_mlflow() -> None:
    """Use whatever tests use once, so that its modules are there: sessions inside a process forget what is imported after they
    began, and SQLAlchemy cannot be loaded twice."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        run = tracked(store.client.create_run("0", tags={RUN_ID_TAG: "warm"}))
        (Path(folder) / "a.txt").write_text("a", encoding="utf-8")
        store.client.log_artifact(run.id, f"{folder}/a.txt")
        find_children(store, find_runs(store, "warm")[0])
        download(store, run.id, next(iter(list_artifacts(store, run.id))), Path(folder, "got"))
        store.client.get_experiment("0")
    connect("http://127.0.0.1:9", "test")


def open_store(folder: Path) -> Connection:
    return connect(fresh_store(folder), "test")
