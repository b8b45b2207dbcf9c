"""A connection to an MLflow store that gives up early and complains in one line.

MLflow's own settings have it try a server that is down for four minutes, and one that never answers for twenty; here a
request is tried twice, five seconds each, unless the user's environment says otherwise. MLflow is imported when a
connection is made, which happens in the ``llmci`` command alone: never in a process that measures.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import FOREIGN_ERRORS, ConfigError, LLMCIError, SinkError
from ..registry import missing_package
from ..secrets import without_credentials
from ..text import one_line
from .database_file import database_file, half_made, is_new, make_store
from .lean import leanly

EXTRA: Final = "pytest-llmci[mlflow]"
SCHEMES: Final = (
    "http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks", "databricks-uc", "uc",
)  # fmt: skip
"""Kinds of store that MLflow brings; others come with packages that register in ``mlflow.tracking_store``."""
DEFAULTS: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server may ask for minutes
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it asks for the whole run to do so
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # a fresh store tells of every migration
}
"""What the environment says of MLflow unless the user's says something else."""
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):")  # one letter is a drive
_LONGEST: Final = 300  # characters of a complaint
T = TypeVar("T")


class NoStoreError(ConfigError):
    """A store that is to be read is not there."""


def _nobody(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A store, and a client of it."""

    client: Any
    """``mlflow.MlflowClient``. Call it within :meth:`ask`."""
    uri: str = field(repr=False)
    """As MLflow takes it; may hold a password."""
    acknowledged: Callable[[str], None] = _nobody
    """Told of each request that was answered."""

    @property
    def shown(self) -> str:
        """The store for people, without a password."""
        return without_credentials(self.uri)

    @property
    def is_remote(self) -> bool:
        """Whether a server is asked over HTTP."""
        return self.uri.startswith(("http://", "https://"))

    def ask(self, what: str, call: Callable[[Any], T]) -> T:
        """The answer to one request.

        :param what: what is done, for the message: ``find the run``.
        :param call: gets the client.
        :raises SinkError: one line, if there is no answer or a refusal.
        """
        try:
            with quiet():
                answer = call(self.client)
        except LLMCIError:
            raise
        except FOREIGN_ERRORS as error:
            raise SinkError(f"MLflow at {self.shown}: cannot {what}: {complaint(error)}") from error
        self.acknowledged(what)
        return answer


def check_uri(uri: str, where: str) -> None:
    """Refuse what can be known to fail, without importing MLflow.

    :param uri: of a store; empty for MLflow's default.
    :param where: the option that held it, for messages.
    :raises MissingExtraError: if MLflow is not installed.
    :raises ConfigError: if no such kind of store exists.
    """
    if find_spec("mlflow") is None:
        raise missing_package(where, "mlflow", EXTRA)
    match = _SCHEME.match(uri)
    if match is None:
        return
    scheme = match["scheme"].lower()
    kinds = {scheme, scheme.partition("+")[0]}
    if not kinds & {*SCHEMES} and not kinds & metadata.entry_points(group="mlflow.tracking_store").names:
        raise ConfigError(
            f"{where}: '{without_credentials(uri)}': MLflow has no store of the kind '{scheme}'. Write an address such as"
            " http://127.0.0.1:5000 or sqlite:///mlflow.db, or leave it out for MLflow's default."
        )


def connect(
    uri: str, where: str, acknowledged: Callable[[str], None] = _nobody, *, alone: bool = False, reads: bool = False
) -> Connection:
    """Import MLflow and open a store.

    :param uri: empty for MLflow's default: ``MLFLOW_TRACKING_URI``, else a SQLite file in the working directory.
    :param where: the option or command that names it, for messages.
    :param acknowledged: told of each request that was answered.
    :param alone: whether this process is there for this alone; less of MLflow is imported then.
    :param reads: whether nothing will be written: no store is made then where there is none.
    :raises MissingExtraError: if MLflow is not installed.
    :raises NoStoreError: if a store that is to be read is not there.
    :raises ConfigError: if no such kind of store exists.
    :raises SinkError: if a local store cannot be opened. A server is not asked yet.
    """
    check_uri(uri, where)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)  # MLflow has no other way to be told

    def open_store() -> tuple[str, Any]:
        return _opened(uri, where, acknowledged, reads=reads)

    try:
        with quiet():
            resolved, client = leanly(open_store) if alone else open_store()
    except ModuleNotFoundError as error:
        raise missing_package(where, error.name or "mlflow", EXTRA) from error
    except LLMCIError:
        raise
    except FOREIGN_ERRORS as error:
        raise SinkError(f"MLflow at {without_credentials(uri) or 'its default store'}: {complaint(error)}") from error
    return Connection(client=client, uri=resolved, acknowledged=acknowledged)


def _opened(uri: str, where: str, acknowledged: Callable[[str], None], *, reads: bool) -> tuple[str, Any]:
    """The address as MLflow takes it, and a client."""
    import mlflow

    def make(aside: str) -> None:
        mlflow.MlflowClient(tracking_uri=aside).search_experiments(max_results=1)

    resolved = uri or str(mlflow.get_tracking_uri())
    check_uri(resolved, where if uri else "MLFLOW_TRACKING_URI")
    path = database_file(resolved)
    if reads:
        _require(resolved, where)
    if (
        path and is_new(path, resolved) and not path.startswith("file:")
    ):  # with options of its own, such as to read alone
        acknowledged("load MLflow")  # takes seconds by itself, and so do the tables
        make_store(path, resolved, make)
        acknowledged("make the tables of the store")
    try:
        return resolved, mlflow.MlflowClient(tracking_uri=resolved)
    except FOREIGN_ERRORS as error:
        if advice := half_made(path):
            raise SinkError(f"MLflow at {without_credentials(resolved)}: {advice}") from error
        if "maintenance mode" in str(error):
            raise ConfigError(
                f"{where}: '{without_credentials(resolved)}': MLflow keeps no new runs in a folder of files. Give a file such as"
                " sqlite:///mlflow.db, or set MLFLOW_ALLOW_FILE_STORE=true to use the folder all the same."
            ) from error
        raise


def _require(uri: str, where: str) -> None:
    """Refuse a store on this machine that is not there: MLflow makes one of whatever it is asked to read."""
    path = database_file(uri)
    scheme = _SCHEME.match(uri)
    if path.startswith("file:"):  # of SQLite itself, with options of its own
        return
    if path:
        there = Path(path).exists() and not is_new(path, uri)
    elif scheme is None or scheme["scheme"].lower() == "file":
        path = url2pathname(urlsplit(uri).path) if scheme else uri
        there = Path(path).exists()
    else:
        return
    if not there:
        raise NoStoreError(
            f"{where}: there is no store of MLflow at '{path}'; give the one that was logged to, such as sqlite:///mlflow.db or"
            " http://127.0.0.1:5000."
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MLflow prints where a run can be looked at each time one ends, and warns of what its own code does: nobody's concern here."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def complaint(error: BaseException) -> str:
    """What MLflow, its database or the system said, in one line, without passwords and without the statement that failed."""
    text = _system_error(error) or str(error).partition("\n[SQL:")[0]
    shown = without_credentials(one_line(text)) or type(error).__name__
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def _system_error(error: BaseException) -> str:
    """The system's own words at the bottom of a pile of errors, such as ``Connection refused``; empty if it said nothing."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    for each in reversed(seen):
        if isinstance(each, OSError) and each.strerror:
            return f"{each.strerror}: {each.filename}" if each.filename else each.strerror
        if isinstance(each, TimeoutError):
            return "no answer in time"
    return ""
