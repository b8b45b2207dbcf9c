"""An SQLite file as a store: opened once before MLflow tries it for minutes, and made whole or not at all.

MLflow makes the tables of a new file in some seventy migrations, of which SQLite keeps each statement at once. A process that is
killed among them leaves a file that MLflow can never open again. So a new store is made in a file aside and copied in one
transaction, after which it is there or, where that was cut off, still empty.
"""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import SinkError

_LOCKED_S: Final = 20.0
"""Another process that makes the same store copies it in far less."""


def database_file(uri: str) -> str:
    """The file of a store; empty where it is in none."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return "" if path in (uri, ":memory:") else path


def is_new(path: str, uri: str) -> bool:
    """Whether the file holds nothing yet, or is not there.

    :raises SinkError: if it cannot be opened, or made where there is none.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            return _is_empty(database)
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):  # by another upload, which ends
            raise _unusable(uri, error) from error
    except sqlite3.DatabaseError:  # no SQLite file: MLflow says so
        pass
    return False


def make_store(path: str, uri: str, make: Callable[[str], None]) -> None:
    """Make the tables of a new file, all of them or none.

    What somebody else puts into the file meanwhile stays.

    :param make: gets the address of a file aside, and has MLflow make its tables there.
    :raises SinkError: if the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="llmci-store-", ignore_cleanup_errors=True) as folder:
        aside = Path(folder, "mlflow.db")
        make(f"sqlite:///{aside.as_posix()}")
        try:
            with (
                contextlib.closing(sqlite3.connect(aside)) as source,
                contextlib.closing(sqlite3.connect(path, timeout=_LOCKED_S, isolation_level=None)) as database,
            ):
                database.execute("PRAGMA locking_mode = EXCLUSIVE")  # kept beyond the transaction that takes it
                database.execute("BEGIN EXCLUSIVE")
                is_empty = _is_empty(database)
                database.execute("COMMIT")
                if is_empty:
                    source.backup(database)
        except sqlite3.OperationalError as error:
            raise _unusable(uri, error) from error


def half_made(path: str) -> str:
    """What to do about a file whose tables somebody was killed at making; empty where it is none, or holds a run.

    Ask for a file that MLflow could not open.
    """
    if not path:
        return ""
    try:
        with contextlib.closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" not in tables or _rows(database, tables, "runs", "registered_models"):
                return ""
    except sqlite3.Error:
        return ""
    move = shlex.join(["mv", path, f"{path}.half-made"])
    return (
        "its tables are half made, as where MLflow was killed making them, and it holds no run; move it away and try again:"
        f" {move}"
    )


def _rows(database: sqlite3.Connection, tables: set[str], *names: str) -> bool:
    return any(database.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone() for name in names if name in tables)  # noqa: S608  # names of ours


def _is_empty(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _unusable(uri: str, error: sqlite3.Error) -> SinkError:
    return SinkError(f"MLflow at {uri}: {error}; give another file, in a folder that may be written")
