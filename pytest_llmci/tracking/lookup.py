"""Runs found again in a store, and what lies there taken back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError, SinkError
from .connection import Connection
from .layout import MODEL_TAG, OF_RUN_TAG, PARENT_TAG, RUN_ID_TAG, UPLOAD_TAG, WHOLE, tag_filter

_PAGE: Final = 1000
_RUNS_AT_ONCE: Final = 100  # each comes with all its numbers, and an answer is awaited for a few seconds only
_EXPERIMENTS_AT_ONCE: Final = 100  # in one search
_ACTIVE: Final = 1
"""``mlflow.entities.ViewType.ACTIVE_ONLY``: what was not deleted."""
_NOT_THERE: Final = ("RESOURCE_DOES_NOT_EXIST", "does not exist", "not found", "Not Found")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedRun:
    """A run as the store has it."""

    id: str
    """MLflow's id."""
    name: str
    experiment_id: str
    status: str
    """``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
    artifact_uri: str
    started_ms: int
    tags: dict[str, str] = field(repr=False)
    params: dict[str, str] = field(repr=False)
    metrics: dict[str, float] = field(repr=False)
    """Metric -> its last value."""

    @property
    def run_id(self) -> str:
        """Id of the run folder that was logged; empty where the run is none of ours."""
        return self.tags.get(RUN_ID_TAG) or self.tags.get(OF_RUN_TAG, "")

    @property
    def model(self) -> str:
        """Alias of the model that it is about; empty for a whole session."""
        return self.tags.get(MODEL_TAG, "")

    @property
    def is_whole(self) -> bool:
        """False while it is being logged, and where that was cut short."""
        return self.tags.get(UPLOAD_TAG) == WHOLE and self.status != "RUNNING"


def find_run(connection: Connection, run_id: str) -> TrackedRun | None:
    """The run in the store that stands for a run folder, in whichever experiment; None if there is none.

    Where there are several, as after a request whose answer was lost, a whole one, then the oldest. Deleted ones do not count.

    :param run_id: name of the run folder, as the header of its log has it.
    :raises SinkError: if the store does not answer.
    """
    return next(iter(find_runs(connection, run_id)), None)


def find_runs(connection: Connection, run_id: str) -> list[TrackedRun]:
    """All of them; see :func:`find_run` for the order."""
    wanted, places = tag_filter(RUN_ID_TAG, run_id), _experiments(connection)
    parts = [places[begin : begin + _EXPERIMENTS_AT_ONCE] for begin in range(0, len(places), _EXPERIMENTS_AT_ONCE)]
    found = [run for part in parts for run in _search(connection, part, wanted)]
    return sorted(found, key=lambda run: (not run.is_whole, run.started_ms, run.id))


def deleted_run(connection: Connection, run_id: str) -> str:
    """How to bring back a run that lies in MLflow's trash, by itself or with its experiment; empty if there is none.

    :raises SinkError: if the store does not answer.
    """
    from mlflow.entities import ViewType

    wanted = tag_filter(RUN_ID_TAG, run_id)
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY):
        places = _experiments(connection, view)
        for begin in range(0, len(places), _EXPERIMENTS_AT_ONCE):
            part = places[begin : begin + _EXPERIMENTS_AT_ONCE]
            for run in _search(connection, part, wanted, ViewType.ALL):
                if view == ViewType.DELETED_ONLY:
                    return f"restore its experiment: mlflow experiments restore --experiment-id {run.experiment_id}"
                return f"restore it: mlflow runs restore --run-id {run.id}"
    return ""


def find_children(connection: Connection, parent: TrackedRun, state: str = "") -> list[TrackedRun]:
    """The runs of single models below a run.

    :param state: value of ``llmci.upload``; empty for any.
    :raises SinkError: if the store does not answer.
    """
    wanted = tag_filter(PARENT_TAG, parent.id) + (f" and {tag_filter(UPLOAD_TAG, state)}" if state else "")
    return list(_search(connection, [parent.experiment_id], wanted))


def find_logged(connection: Connection) -> tuple[list[TrackedRun], dict[str, list[TrackedRun]]]:
    """All that was logged to the store: the runs of whole sessions, and those of single models by the id of the run above them.

    :raises SinkError: if the store does not answer.
    """
    places = _experiments(connection)
    parts = [places[begin : begin + _EXPERIMENTS_AT_ONCE] for begin in range(0, len(places), _EXPERIMENTS_AT_ONCE)]
    sessions: list[TrackedRun] = []
    below: dict[str, list[TrackedRun]] = {}
    for part in parts:
        for run in _search(connection, part, f"tags.`{UPLOAD_TAG}` != ''"):
            if not run.model:
                sessions.append(run)
            elif parent := run.tags.get(PARENT_TAG):
                below.setdefault(parent, []).append(run)
    return sessions, below


def get_run(connection: Connection, mlflow_run_id: str) -> TrackedRun:
    """The run of that id in the store.

    :raises ConfigError: if there is none, or it was deleted.
    :raises SinkError: if the store does not answer.
    """
    try:
        run = tracked(connection.ask(f"read the run {mlflow_run_id}", lambda client: client.get_run(mlflow_run_id)))
    except SinkError as error:
        if any(text in str(error) for text in _NOT_THERE):
            raise ConfigError(
                f"MLflow at {connection.shown} has no run '{mlflow_run_id}'. Its id stands in the address of its page."
            ) from error
        raise
    return run


def list_artifacts(connection: Connection, mlflow_run_id: str) -> dict[str, int | None]:
    """Files of a run: path, with slashes -> bytes, None where the store does not say.

    :raises SinkError: if the store does not answer.
    """
    found: dict[str, int | None] = {}
    folders: list[str | None] = [None]
    while folders:
        folder = folders.pop()
        for entry in _entries(connection, mlflow_run_id, folder):
            if entry.is_dir:
                folders.append(entry.path)
            else:
                found[entry.path] = entry.file_size
    return dict(sorted(found.items()))


def download(connection: Connection, mlflow_run_id: str, artifact_path: str, into_folder: Path) -> Path:
    """Copy a file of a run.

    :param artifact_path: as :func:`list_artifacts` gives it: ``log.jsonl``, ``plots/latency.png``.
    :param into_folder: made if it is not there.
    :returns: the copy, under its path below that folder.
    :raises ConfigError: if the run has no such file.
    :raises SinkError: if the store does not answer, or the folder cannot be written.
    """
    entries = _entries(connection, mlflow_run_id, artifact_path.rpartition("/")[0] or None)
    if artifact_path not in {entry.path for entry in entries if not entry.is_dir}:
        raise ConfigError(f"run {mlflow_run_id} of MLflow at {connection.shown} has no file '{artifact_path}'.")
    place = into_folder / artifact_path
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".llmci-", dir=place.parent
        ) as aside:  # where it lands differs by kind of store
            got = connection.ask(
                f"copy {artifact_path}", lambda client: client.download_artifacts(mlflow_run_id, artifact_path, aside)
            )
            Path(got).replace(place)
    except OSError as error:
        raise SinkError(f"{place}: cannot be written: {error.strerror or error}.") from error
    return place


def _entries(connection: Connection, mlflow_run_id: str, folder: str | None) -> list[Any]:
    def ask(client: Any) -> list[Any]:
        return list(client.list_artifacts(mlflow_run_id, folder))

    return connection.ask("list the files of the run", ask)


def tracked(run: Any) -> TrackedRun:
    """A run as MLflow's client gives it."""
    return TrackedRun(
        id=run.info.run_id,
        name=run.info.run_name or "",
        experiment_id=run.info.experiment_id,
        status=run.info.status,
        artifact_uri=run.info.artifact_uri,
        started_ms=run.info.start_time or 0,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )


def _experiments(connection: Connection, view: int = _ACTIVE) -> list[str]:
    found: list[str] = []
    token: str | None = None
    while True:
        page = connection.ask(
            "list the experiments",
            lambda client, at=token: client.search_experiments(view, max_results=_PAGE, page_token=at),  # type: ignore[misc]  # the page of this turn
        )
        found += [experiment.experiment_id for experiment in page]
        token = page.token
        if not token:
            return found


def _search(connection: Connection, experiments: list[str], wanted: str, view: int = _ACTIVE) -> Iterator[TrackedRun]:
    token: str | None = None
    while experiments:
        page = connection.ask(
            "search the runs",
            lambda client, at=token: client.search_runs(experiments, wanted, view, _RUNS_AT_ONCE, page_token=at),  # type: ignore[misc]  # the page of this turn
        )
        yield from map(tracked, page)
        token = page.token
        if not token:
            return
