"""The runs that a dashboard shows: those of a folder, or those that were logged to MLflow."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..clock import utc_text
from ..errors import ConfigError, LogTamperedError, StoreError
from ..store.log import LOG_NAME, is_live
from ..store.runfolder import list_runs
from ..store.verify import verify_log

if TYPE_CHECKING:
    from ..tracking.lookup import TrackedRun

DASHBOARD: Final = "dashboard"
_TAIL_BYTES: Final = 4096
"""In which the last line of a log lies, where that is a footer."""
_STATES: Final = {0: "passed", 1: "failed"}
"""Exit status of a session -> what became of it; any other was stopped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """One run in the list."""

    id: str
    started: str
    """UTC, ISO 8601."""
    state: str
    """``passed``, ``failed``, ``stopped``, ``killed`` or ``running``."""
    commit: str
    metrics: Mapping[str, Mapping[str, float]] = field(repr=False)
    """Alias of a model -> metric -> its median, SI; empty while the run is going on."""

    @property
    def models(self) -> tuple[str, ...]:
        """Aliases."""
        return tuple(self.metrics)


class Source(Protocol):
    """Where runs come from."""

    @property
    def shown(self) -> str:
        """The place for people, without a password."""

    def check(self) -> None:
        """See whether the place answers, before anything is shown of it.

        :raises LLMCIError: in one line, if it does not.
        """

    def rows(self) -> list[RunRow]:
        """Every run, the newest first.

        :raises LLMCIError: if the place does not answer.
        """

    def folder(self, run_id: str) -> Path:
        """A folder that holds the run's log.

        :raises LLMCIError: if it cannot be had.
        """


def open_source(text: str, where: str = DASHBOARD) -> Source:
    """The runs of a folder, or of an MLflow store where the text is its address.

    :param where: the command, for messages.
    :raises ConfigError: if there is no such folder or file.
    :raises MissingExtraError: for an address without MLflow.
    """
    if "://" in text:
        return MlflowSource(text, where)
    folder = Path(os.path.expanduser(text))
    if (folder / LOG_NAME).is_file():
        folder = folder.parent
    if not folder.is_dir():
        raise ConfigError(
            f"{where}: there is no folder '{text}'; give the folder of the runs, or the address of an MLflow store."
        )
    return FolderSource(folder)


class FolderSource:
    """The runs of a folder such as ``llmci-results``. Reads a few kilobytes of each for the list, and one again only when it changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[tuple[int, int], RunRow]] = {}

    @property
    def shown(self) -> str:
        return str(self._folder)

    def check(self) -> None:
        try:
            next(self._folder.iterdir(), None)
        except OSError as error:
            raise StoreError(f"{self._folder}: the folder cannot be read: {error.strerror or error}.") from error

    def rows(self) -> list[RunRow]:
        self.check()
        try:
            return [self._row(folder) for folder in reversed(list_runs(self._folder))]
        except OSError as error:
            raise StoreError(f"{error.filename}: cannot be read: {error.strerror or error}.") from error

    def folder(self, run_id: str) -> Path:
        return self._folder / run_id

    def _row(self, folder: Path) -> RunRow:
        stat = (folder / LOG_NAME).stat()
        mark = stat.st_size, stat.st_mtime_ns
        known = self._known.get(folder)
        if known is not None and known[0] == mark and known[1].state != "running":
            return known[1]
        row = _row_of(folder, stat.st_size)
        self._known[folder] = mark, row
        return row


def _row_of(folder: Path, size: int) -> RunRow:
    with (folder / LOG_NAME).open("rb") as log:
        header = _line(log.readline())
        log.seek(max(0, size - _TAIL_BYTES))
        last = _line((log.read().splitlines() or [b""])[-1])
    git = header.get("environment", {}).get("git")
    return RunRow(
        id=folder.name,
        started=str(header.get("started", "")),
        state=_state(folder, last),
        commit=str(git.get("commit") or "") if isinstance(git, dict) else "",
        metrics=_metrics(folder),
    )


def _line(raw: bytes) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _state(folder: Path, last: Mapping[str, Any]) -> str:
    if last.get("type") != "footer":
        return "running" if is_live(folder / LOG_NAME) else "killed"
    if last.get("recovered"):
        return "killed"
    return _STATES.get(last.get("exit_status", -1), "stopped")


def _metrics(folder: Path) -> dict[str, dict[str, float]]:
    try:
        data = json.loads((folder / "metrics.json").read_bytes())
    except (OSError, ValueError):
        return {}
    models = data if isinstance(data, dict) else {}
    return {
        str(alias): {str(name): float(value) for name, value in numbers.items() if isinstance(value, int | float)}
        for alias, numbers in models.items()
        if isinstance(numbers, dict)
    }


class MlflowSource:
    """The runs that were logged to a store. A log is downloaded when it is looked at, once."""

    def __init__(self, uri: str, where: str) -> None:
        """:raises ConfigError: if there is no such kind of store, or it is not there: what reads makes none.

        :raises MissingExtraError: without MLflow.
        :raises SinkError: if a local store cannot be opened.
        """
        from ..tracking.connection import connect

        self._where = where
        self._connection = connect(uri, where, reads=True)
        self._runs: dict[str, TrackedRun] = {}
        self._place = Path(tempfile.mkdtemp(prefix="llmci-dashboard-"))
        atexit.register(shutil.rmtree, self._place, ignore_errors=True)

    @property
    def shown(self) -> str:
        return self._connection.shown

    def check(self) -> None:
        self._connection.ask("list the experiments", lambda client: client.search_experiments(max_results=1))

    def rows(self) -> list[RunRow]:
        from ..tracking.lookup import find_logged

        sessions, children = find_logged(self._connection)
        self._runs = {run.run_id: run for run in sessions}
        return [
            _tracked_row(run, children.get(run.id, ())) for run in sorted(sessions, key=lambda run: -run.started_ms)
        ]

    def folder(self, run_id: str) -> Path:
        from ..tracking.layout import LOG_TAG
        from ..tracking.lookup import download

        folder = self._place / run_id
        if not (folder / LOG_NAME).is_file():
            if run_id not in self._runs:
                raise ConfigError(f"{self._where}: MLflow at {self.shown} has no run '{run_id}' any more.")
            run = self._runs[run_id]
            aside = self._place / ".new"
            got = download(self._connection, run.id, LOG_NAME, aside)
            logged = run.tags.get(LOG_TAG, "")
            if logged and verify_log(got).digest != logged:
                raise LogTamperedError(f"MLflow at {self.shown}: the log of {run_id} is not the one that was logged.")
            folder.mkdir(exist_ok=True)
            got.replace(folder / LOG_NAME)
        return folder


_TRACKED_STATES: Final = {"FAILED": "killed", "KILLED": "killed", "RUNNING": "running"}
"""Of MLflow; what became of a finished run is told by its verdict."""
_VERDICTS: Final = {"pass": "passed", "failed": "failed", "inconclusive": "passed"}


def _tracked_row(run: TrackedRun, children: Sequence[TrackedRun]) -> RunRow:
    from ..tracking.layout import STATE_TAG

    verdict = run.tags.get(STATE_TAG, "")
    return RunRow(
        id=run.run_id,
        started=utc_text(datetime.fromtimestamp(run.started_ms / 1000, UTC)),
        state=_TRACKED_STATES.get(run.status) or _VERDICTS.get(verdict, "stopped"),
        commit=run.tags.get("mlflow.source.git.commit", ""),
        metrics={child.model: _medians(child.metrics) for child in children},
    )


def _medians(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name.removesuffix(".median"): value for name, value in metrics.items() if name.endswith(".median")}
