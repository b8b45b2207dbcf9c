"""``--llmci-baseline=mlflow:NAME@ALIAS``: the run that was promoted, as a baseline.

MLflow is asked by a process of its own, which ends before anything is measured: what MLflow imports and starts stays out of
the session, and a server that does not answer is given up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from ..engine.cache_dir import user_cache_dir
from ..errors import ConfigError, LLMCIError, StoreError
from ..records import HeaderRecord, LogRecord
from ..slugs import slug
from ..store.baseline_file import baseline_text
from ..store.baseline_log import baseline_of_log
from ..store.log import LOG_NAME, LogReader
from ..store.runfolder import replacing
from ..text import one_line
from ..tracking.connection import Connection, check_uri, connect
from .champion import log_of_version, promoted, split_reference

PREFIX: Final = "mlflow:"
_START: Final = (
    "import sys; sys.path.append({place!r}); from pytest_llmci.promotion.baseline import main; main(sys.argv[1:])"
)
TIMEOUT_S: Final = 60.0
"""MLflow's import takes seconds, and so does a large log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotedBaseline:
    """A promoted run as a baseline."""

    path: Path
    """Its file, in the cache."""
    version: int
    """Of the registered model."""


def promoted_baseline(connection: Connection, text: str, where: str, *, cache: Path | None = None) -> PromotedBaseline:
    """The run behind ``NAME@ALIAS``, with the model that was promoted alone.

    :param where: the option, for messages.
    :raises ConfigError: if there is no such name or alias, or nothing of its run can be compared with.
    :raises LogTamperedError: if its log is not the one that was promoted.
    :raises SinkError: if the store does not answer.
    :raises StoreError: if the file cannot be kept.
    """
    found = promoted(connection, text, where)
    folder = log_of_version(connection, found.version, where, cache=cache)
    model = found.pointer.model
    name = f"{slug(found.version.name, longest=60) or 'model'}-v{found.version.number}"
    try:
        record = baseline_of_log(_of_model(folder, model), name, saved=_started(folder))
    except StoreError as error:
        raise ConfigError(f"{where}: {found.version.shown} cannot be compared with: {error}") from error
    (session,) = record.sessions
    models = [replace(each, spec=found.pointer.spec) for each in session.models]
    record = replace(record, sessions=[replace(session, models=models)])
    path = folder / f"{name}.json"
    try:
        with replacing(path) as stream:
            stream.write(baseline_text(record))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}.") from error
    return PromotedBaseline(path=path, version=found.version.number)


def _of_model(folder: Path, model: str) -> Iterator[LogRecord]:
    return (record for record in LogReader(folder / LOG_NAME) if getattr(record, "model", model) == model)


def _started(folder: Path) -> datetime:
    header = next(iter(LogReader(folder / LOG_NAME, ("header",))))
    assert isinstance(header, HeaderRecord)  # the first line of every log
    return datetime.fromisoformat(header.started)


# ------------------------------------------------------------------------------------------------- in another process


def fetch_baseline(text: str, uri: str, where: str, *, timeout_s: float = TIMEOUT_S) -> PromotedBaseline:
    """:func:`promoted_baseline` in a process of its own, within a time.

    :param text: ``NAME@ALIAS``.
    :param uri: of MLflow's store; empty for its default.
    :raises ConfigError: whatever went wrong, in one line that begins with ``where``.
    """
    split_reference(text, where)
    check_uri(uri, where)
    start = _START.format(place=str(Path(__file__).parents[2]))
    command = [sys.executable, "-P", "-c", start, text, uri, where, str(user_cache_dir())]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"{where}: MLflow did not give {text} within {timeout_s:.0f} s. Is its server up? A saved baseline needs none:"
            " --llmci-save-baseline."
        ) from error
    except OSError as error:
        raise ConfigError(f"{where}: no process could be started to ask MLflow: {error}") from error
    try:
        told = json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1])
    except (ValueError, IndexError) as error:
        last = one_line(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
        raise ConfigError(
            f"{where}: asking MLflow for {text} failed (exit status {done.returncode}): {last}"
        ) from error
    if "error" in told:
        said = str(told["error"])
        raise ConfigError(said if said.startswith(where) else f"{where}: {said}")
    return PromotedBaseline(path=Path(told["path"]), version=int(told["version"]))


def main(arguments: list[str]) -> None:
    """Ask, and print the answer as a line of JSON."""
    text, uri, where, cache = arguments
    try:
        found = promoted_baseline(connect(uri, where, alone=True, reads=True), text, where, cache=Path(cache))
        told: dict[str, object] = {"path": str(found.path), "version": found.version}
    except LLMCIError as error:
        told = {"error": one_line(str(error))}
    sys.stdout.write("\n" + json.dumps(told) + "\n")
