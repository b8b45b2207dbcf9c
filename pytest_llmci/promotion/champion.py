"""What an alias stands for: the model, the run that measured it and that run's log."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from ..engine.cache_dir import user_cache_dir
from ..errors import ConfigError, LogTamperedError, StoreError
from ..store.log import LOG_NAME
from ..store.verify import verify_log
from ..tracking.connection import Connection
from ..tracking.layout import LOG_TAG, MODEL_TAG, PARENT_TAG, RUN_ID_TAG
from ..tracking.lookup import download, get_run
from .base import DEFAULT_ALIAS
from .pointer import ModelPointer, read_pointer
from .versions import POINTER_TAG, RegisteredModel, Version

LOGS_FOLDER: Final = "promoted"
"""In the cache: logs of promoted runs by their digest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Promoted:
    """A registered version, and the model that it is."""

    version: Version
    pointer: ModelPointer


def split_reference(text: str, where: str) -> tuple[str, str]:
    """Name and alias of ``NAME@ALIAS``.

    :raises ConfigError: if it is none.

    >>> split_reference("assistant@champion", "x"), split_reference("assistant", "x")
    (('assistant', 'champion'), ('assistant', 'champion'))
    """
    name, at, alias = text.partition("@")
    if not name or (at and not alias):
        raise ConfigError(f"{where}: '{text}' must have the form NAME@ALIAS, such as assistant@{DEFAULT_ALIAS}.")
    return name, alias or DEFAULT_ALIAS


def promoted(connection: Connection, text: str, where: str) -> Promoted:
    """The model that ``NAME@ALIAS`` stands for.

    :param where: the command or option that names it, for messages.
    :raises ConfigError: if there is no such name or alias, or the version is none of ours.
    :raises LogTamperedError: if its pointer is not the one that was registered.
    :raises SinkError: if the store does not answer.
    """
    name, alias = split_reference(text, where)
    _, version = RegisteredModel(connection, name, where).require_alias(alias)
    return Promoted(version=version, pointer=pointer_of_version(connection, version, where))


def pointer_of_version(connection: Connection, version: Version, where: str) -> ModelPointer:
    """What a version points at.

    :raises ConfigError: if it was not registered by ``llmci promote``.
    :raises LogTamperedError: if the file is not the one that was registered.
    :raises StoreError: if it cannot be read.
    :raises SinkError: if the store does not answer.
    """
    _check_ours(version, where)
    artifact = version.source.removeprefix(f"runs:/{version.mlflow_run}/")
    with tempfile.TemporaryDirectory(prefix="llmci-pointer-") as folder:
        content = download(connection, version.mlflow_run, artifact, Path(folder)).read_bytes()
    if sha256(content).hexdigest() != version.tags.get(POINTER_TAG):
        raise LogTamperedError(f"{version.shown}: its {artifact} is not the one that was registered.")
    return read_pointer(content, version.shown)


def log_of_version(connection: Connection, version: Version, where: str, *, cache: Path | None = None) -> Path:
    """The folder of a copy of the log of the run that measured a version, kept in the cache.

    :raises ConfigError: if the version was not registered by ``llmci promote``, or MLflow holds the run no more.
    :raises LogTamperedError: if it is not the log that was promoted.
    :raises SinkError: if the store does not answer.
    :raises StoreError: if the copy cannot be kept.
    """
    _check_ours(version, where)
    digest = version.tags[LOG_TAG]
    folder = (cache or user_cache_dir()) / LOGS_FOLDER / sha256(digest.encode()).hexdigest()[:32]
    kept = folder / LOG_NAME
    if kept.is_file() and _holds(kept, digest):
        return folder
    parent = get_run(connection, version.mlflow_run).tags.get(PARENT_TAG, "")
    if not parent:
        raise ConfigError(
            f"{where}: {version.shown}: its run {version.mlflow_run} does not say which session it belongs to."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".get-", dir=folder) as fresh:
            got = download(connection, parent, LOG_NAME, Path(fresh))
            if not _holds(got, digest):
                raise LogTamperedError(
                    f"{version.shown}: the log of its run {version.tags[RUN_ID_TAG]} in MLflow is not the one that was promoted."
                )
            shutil.move(got, kept)
    except OSError as error:
        raise StoreError(f"{folder}: the log of {version.shown} cannot be kept: {error.strerror or error}.") from error
    return folder


def _holds(log: Path, digest: str) -> bool:
    try:
        found = verify_log(log)
    except StoreError:
        return False
    return found.ok and found.digest == digest


def _check_ours(version: Version, where: str) -> None:
    if not version.is_ours or not version.mlflow_run:
        raise ConfigError(
            f"{where}: {version.shown} was not registered by llmci promote: which run measured it is not known. Promote a run under a"
            " name of its own, or take the alias away in MLflow first."
        )


def model_alias(version: Version) -> str:
    """What the version's model is called in its run."""
    return version.tags[MODEL_TAG]
