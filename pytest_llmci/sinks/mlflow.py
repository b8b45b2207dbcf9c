"""``mlflow[:URI]``: the run in an MLflow store, one run for the session and one below it for each model.

It may wait for a server that does not answer, and MLflow is large: a session that measures has it done by a process of its
own, which ``llmci report RUN --sink mlflow:URI`` is, too.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

from ..engine.comparisons.stored_run import read_run
from ..engine.reports.report import SessionReport
from ..text import one_line
from ..tracking.connection import Connection, check_uri, connect, quiet
from ..tracking.contents import Facts, model_contents, prompt_steps, session_contents
from ..tracking.upload import Package, Uploaded, upload
from .apart import ALONE
from .base import Listener, Silent

EXPERIMENT_VARIABLE: Final = "LLMCI_MLFLOW_EXPERIMENT"
"""Twin of ``--llmci-mlflow-experiment``; beats what the session said."""


class MlflowSink:
    """Uploads the run folder.

    :param target: the store; empty for MLflow's default.
    :raises ConfigError: if MLflow is not installed, or knows no such kind of store.
    """

    apart = True
    whole_run = True

    def __init__(self, target: str = "") -> None:
        self._uri = target.strip()
        check_uri(self._uri, "sink 'mlflow'")
        self.listener: Listener = Silent()

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        with quiet():
            connection = connect(self._uri, "sink 'mlflow'", self.listener.step, alone=ALONE in os.environ)
            self.listener.step("load MLflow")
            done = upload(connection, _package(report, folder))
        for line in _told(connection, done, default=not self._uri):
            self.listener.result(line)
        return []


def _package(report: SessionReport, folder: Path) -> Package:
    facts, steps = Facts(report, read_run(folder)), prompt_steps(report)
    named = os.environ.get(EXPERIMENT_VARIABLE) or report.header.settings.get("mlflow_experiment") or ""
    return Package(
        session=session_contents(facts),
        models=[lambda model=model: model_contents(facts, model, steps) for model in report.models],  # type: ignore[misc]  # each its own
        aliases=[model.alias for model in report.models],
        folder=folder,
        experiment=str(named),
    )


def _told(connection: Connection, done: Uploaded, *, default: bool) -> list[str]:
    state = "was there already," if done.was_there else "completed" if done.completed else "logged"
    lines = [
        f"MLflow: {state} in experiment '{one_line(done.experiment)}'",
        f"MLflow: {_place(connection, done, default=default)}",
    ]
    if done.left_out:
        more = f" and {len(done.left_out) - 1} more" if len(done.left_out) > 1 else ""
        lines.append(f"MLflow: stays in the run folder alone: {one_line(done.left_out[0])}{more}")
    return lines


def _place(connection: Connection, done: Uploaded, *, default: bool) -> str:
    if connection.is_remote:
        return f"{connection.shown.rstrip('/')}/#/experiments/{done.run.experiment_id}/runs/{done.run.id}"
    is_usual = default and "MLFLOW_TRACKING_URI" not in os.environ
    store = "" if is_usual else f" --backend-store-uri {shlex.quote(connection.shown)}"
    return f"run {done.run.id}; look with: mlflow ui{store}"
