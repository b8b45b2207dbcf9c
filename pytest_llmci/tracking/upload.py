"""Bring a run to a store, once: whatever was cut short before is completed, and nothing is there twice.

The session's run is made first and carries the name of the run folder from its first moment, so that it is found again
after a request whose answer was lost. Each model's run is marked as whole with its last numbers, the session's when
everything has arrived.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError, SinkError
from . import layout
from .connection import Connection
from .contents import RunContents
from .lookup import TrackedRun, find_children, find_runs, get_run, list_artifacts, tracked

ACTIVE_RUN: Final = "MLFLOW_RUN_ID"
"""Environment variable with the id of the user's own run, as MLflow names it."""
_DELETED: Final = "deleted"
_DATASET_ATTEMPTS: Final = 3
_ALREADY_THERE: Final = ("unique constraint", "duplicate key", "duplicate entry")
"""What SQLite, PostgreSQL and MySQL say. MLflow looks whether it has a dataset and then makes it, so that of two uploads of the same
prompts at once one may fail; asked again, it finds what the other one made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Uploaded:
    """What is in the store now."""

    run: TrackedRun
    experiment: str
    """Its name."""
    was_there: bool
    """True if it was whole before."""
    completed: bool
    """True if it was there in part."""
    left_out: tuple[str, ...]
    """Files that stayed in the run folder, each with the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """What is to be brought."""

    session: RunContents
    models: Iterable[Callable[[], RunContents]]
    """Made one by one, as their tables may be large."""
    aliases: Sequence[str]
    """Of the models, in the same order."""
    folder: Path
    experiment: str
    """Name; empty for the one that MLflow's environment names, or else our own."""


def upload(connection: Connection, package: Package) -> Uploaded:
    """Bring it there.

    :raises ConfigError: if the experiment was deleted, or what the environment names does not exist.
    :raises SinkError: if the store refuses or does not answer. What has arrived stays, and the next call goes on from there.
    """
    found = find_runs(connection, package.session.tags[layout.RUN_ID_TAG])
    digest = package.session.tags[layout.LOG_TAG]
    for stale in [run for run in found if run.tags.get(layout.LOG_TAG) != digest]:
        _delete(connection, stale)  # of the same session, before its log was completed
        found.remove(stale)
    was_whole, was_there = bool(found) and found[0].is_whole, bool(found)
    parent = found[0] if found else _create(connection, package.session, *_place(connection, package.experiment))
    if not was_whole:
        _log_session(connection, parent, package, is_new=not was_there)
        _send_texts(connection, parent.id, {layout.LONG_TEXTS: package.session.long_texts})
    left_out = _send_files(connection, parent, package.folder)
    if not was_whole:
        _finish_session(connection, parent.id, package.session, left_out)
    for surplus in find_runs(connection, parent.run_id)[1:] if not was_whole else found[1:]:
        _delete(connection, surplus)
    experiment = connection.ask("read the experiment", lambda client: client.get_experiment(parent.experiment_id))
    return Uploaded(
        run=parent, experiment=experiment.name, was_there=was_whole, completed=was_there and not was_whole,
        left_out=tuple(left_out),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- where it goes


def _place(connection: Connection, experiment: str) -> tuple[str, str]:
    """Id of the experiment, and of the user's own run that it nests in, or nothing."""
    active = os.environ.get(ACTIVE_RUN, "")
    if active:
        try:
            return get_run(connection, active).experiment_id, active
        except ConfigError as error:
            raise ConfigError(f"{ACTIVE_RUN}: {error} Unset it to log a run of its own.") from error
    named = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", "")
    given_id = os.environ.get("MLFLOW_EXPERIMENT_ID", "")
    if not named and given_id:
        return _known_experiment(connection, given_id), ""
    return _named_experiment(connection, named or layout.EXPERIMENT), ""


def _known_experiment(connection: Connection, given_id: str) -> str:
    try:
        found = connection.ask("read the experiment", lambda client: client.get_experiment(given_id))
    except SinkError as error:
        raise ConfigError(f"MLFLOW_EXPERIMENT_ID: {error} Name one with --llmci-mlflow-experiment.") from error
    return _live(connection, found)


def _named_experiment(connection: Connection, name: str) -> str:
    def read(client: Any) -> Any:
        return client.get_experiment_by_name(name)

    found = connection.ask("look for the experiment", read)
    if found is not None:
        return _live(connection, found)
    try:
        made = connection.ask(f"make the experiment '{name}'", lambda client: client.create_experiment(name))
        return str(made)
    except SinkError:
        found = connection.ask("look for the experiment", read)
        if found is None:
            raise
        return _live(connection, found)  # somebody else was quicker


def _live(connection: Connection, experiment: Any) -> str:
    if experiment.lifecycle_stage == _DELETED:
        raise ConfigError(
            f"experiment '{experiment.name}' was deleted in MLflow at {connection.shown}: restore it (mlflow experiments restore"
            f" --experiment-id {experiment.experiment_id}), or name another one with --llmci-mlflow-experiment."
        )
    return str(experiment.experiment_id)


# ---------------------------------------------------------------------------------------------------------- the runs


def _create(connection: Connection, contents: RunContents, experiment_id: str, parent_id: str) -> TrackedRun:
    tags = {**contents.tags, layout.UPLOAD_TAG: layout.PARTIAL}
    if parent_id:
        tags[layout.PARENT_TAG] = parent_id
    made = connection.ask(
        f"make the run {contents.name}",
        lambda client: client.create_run(
            experiment_id,
            start_time=contents.started_ms,
            tags=tags,
            run_name=layout.cut(contents.name, layout.MOST_KEY),
        ),
    )
    return tracked(made)


def _log_session(connection: Connection, parent: TrackedRun, package: Package, *, is_new: bool) -> None:
    _log_prompts(connection, parent.id, package.session)
    _log(connection, parent.id, package.session)
    there = set() if is_new else _settled_children(connection, parent, package.aliases)
    for alias, make in zip(package.aliases, package.models, strict=True):
        if alias not in there:
            _log_model(connection, parent, make())
    for child in find_children(connection, parent, layout.PARTIAL):  # a request that was sent again has made two
        _delete_one(connection, child)


def _log_model(connection: Connection, parent: TrackedRun, contents: RunContents) -> None:
    run = _create(connection, contents, parent.experiment_id, parent.id)
    _send_texts(connection, run.id, {layout.TABLE: contents.table, layout.LONG_TEXTS: contents.long_texts})
    _log_prompts(connection, run.id, contents)
    _log(connection, run.id, contents, {layout.UPLOAD_TAG: layout.WHOLE})
    _end(connection, run.id, contents)


def _settled_children(connection: Connection, parent: TrackedRun, aliases: Sequence[str]) -> set[str]:
    """Models whose runs are whole; the others' are removed."""
    settled: set[str] = set()
    for child in find_children(connection, parent):
        if child.is_whole and child.model in aliases and child.model not in settled:
            settled.add(child.model)
        elif child.run_id == parent.run_id:
            _delete_one(connection, child)
    return settled


def _log(connection: Connection, run_id: str, contents: RunContents, tags: Mapping[str, str] | None = None) -> None:
    """Parameters and numbers; the same ones again change nothing."""
    from mlflow.entities import Metric, Param, RunTag

    params = [Param(name, value) for name, value in contents.params.items()]
    points = [Metric(point.key, point.value, contents.ended_ms, point.step) for point in contents.points]
    last = [RunTag(name, value) for name, value in (tags or {}).items()]
    connection.ask(
        f"log the numbers of {contents.name}",
        lambda client: client.log_batch(run_id, metrics=points, params=params, tags=last),
    )


def _log_prompts(connection: Connection, run_id: str, contents: RunContents) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    prompts = contents.prompts
    if prompts is None:
        return
    schema = json.dumps({"mlflow_colspec": [{"name": "prompt", "type": "string", "required": True}]})
    data = Dataset(
        name=prompts.name, digest=prompts.digest, source_type="pytest-llmci", source=prompts.source, schema=schema,
        profile=prompts.profile,
    )  # fmt: skip
    entry = DatasetInput(data, [InputTag("mlflow.data.context", "eval")])
    for attempt in range(_DATASET_ATTEMPTS):
        try:
            connection.ask("log the prompts", lambda client: client.log_inputs(run_id, datasets=[entry]))
            return
        except SinkError as error:
            was_made = any(sign in str(error).lower() for sign in _ALREADY_THERE)
            if not was_made or attempt == _DATASET_ATTEMPTS - 1:
                raise


def _finish_session(connection: Connection, run_id: str, contents: RunContents, left_out: Sequence[str]) -> None:
    from mlflow.entities import RunTag

    tags = [RunTag(layout.UPLOAD_TAG, layout.WHOLE)]
    if left_out:
        tags.append(RunTag(layout.LEFT_OUT_TAG, layout.cut("\n".join(left_out), layout.MOST_TAG)))
    connection.ask(f"mark {contents.name} as whole", lambda client: client.log_batch(run_id, tags=tags))
    _end(connection, run_id, contents)


def _end(connection: Connection, run_id: str, contents: RunContents) -> None:
    connection.ask(
        f"end the run {contents.name}",
        lambda client: client.set_terminated(run_id, status=contents.status, end_time=contents.ended_ms),
    )


def _delete(connection: Connection, run: TrackedRun) -> None:
    """A session's run and those below it go to MLflow's trash."""
    for child in find_children(connection, run):
        if child.run_id == run.run_id:
            _delete_one(connection, child)
    _delete_one(connection, run)


def _delete_one(connection: Connection, run: TrackedRun) -> None:
    connection.ask(f"remove the unfinished run {run.name}", lambda client: client.delete_run(run.id))


# --------------------------------------------------------------------------------------------------------- the files


def _send_files(connection: Connection, parent: TrackedRun, folder: Path) -> list[str]:
    """Bring the files of the run folder that are not there yet.

    :returns: those that stay, each with the reason.
    """
    there = list_artifacts(connection, parent.id)
    left_out: list[str] = []
    logs = 0
    for path, name in layout.artifact_files(folder):
        size = path.stat().st_size
        if name.startswith(layout.LOGS):
            logs += 1
            if size > layout.MOST_WORKER_LOG:
                left_out.append(f"{name}: {size} bytes are more than {layout.MOST_WORKER_LOG}")
                continue
            if logs > layout.MOST_WORKER_LOGS:
                left_out.append(f"{name}: one of more than {layout.MOST_WORKER_LOGS} logs")
                continue
        if there.get(name) != size:
            where = name.rpartition("/")[0] or None
            connection.ask(
                f"send {name}",
                lambda client, path=path, where=where: client.log_artifact(parent.id, str(path), where),  # type: ignore[misc]  # of this turn
            )
    return left_out


def _send_texts(connection: Connection, run_id: str, texts: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="llmci-mlflow-") as aside:
        for name, text in texts.items():
            if text:
                path = Path(aside, name)
                path.write_text(text, encoding="utf-8")
                connection.ask(f"send {name}", lambda client, path=path: client.log_artifact(run_id, str(path)))  # type: ignore[misc]  # of this turn
