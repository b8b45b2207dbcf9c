"""Whether a run in an MLflow store is this run: its tags, every file of it byte for byte, and the table of each model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..engine.comparisons.stored_run import read_run
from ..engine.reports.report_builder import build_report
from ..errors import ConfigError, StoreError
from ..records import HeaderRecord
from ..store.log import LOG_NAME, read_log
from ..store.manifest import MANIFEST_NAME, Manifest, read_manifest
from ..store.verify import Verification
from ..text import one_line
from ..tracking.connection import Connection, connect
from ..tracking.contents import Facts, model_contents, prompt_steps
from ..tracking.layout import LEFT_OUT_TAG, LINES_TAG, LOG_TAG, LONG_TEXTS, TABLE, WHOLE, artifact_files
from ..tracking.lookup import TrackedRun, deleted_run, download, find_children, find_run, get_run, list_artifacts
from .against import Against, of_the_run
from .derived import DERIVED, first_difference

_WHERE: Final = "--against=mlflow"
_FIRST: Final = (LOG_NAME, *DERIVED)
_NAMED: Final = 3


def against_mlflow(run: Path, log: Verification, mlflow_run_id: str = "") -> Against:
    """Compare a run folder with what an MLflow store has of it.

    The store is the one that MLflow's environment names. One file is copied at a time, into a folder for temporary files.

    :param log: of the run folder, found whole.
    :param mlflow_run_id: empty: the run in the store that stands for this folder.
    :raises ConfigError: if there is no such run, or MLflow is not installed.
    :raises SinkError: if the store does not answer.
    """
    connection = connect("", _WHERE, reads=True)
    run_id = _run_id(run)
    tracked = _tracked(connection, run_id, mlflow_run_id)
    where = f"MLflow's run {tracked.id}"
    if text := _in_tags(tracked, run_id, log):
        return Against(difference=f"{where} {text}")
    with tempfile.TemporaryDirectory(prefix="llmci-verify-") as place:
        return _Files(run=run, connection=connection, tracked=tracked, place=Path(place)).compared(where)


def _run_id(run: Path) -> str:
    header = next(read_log(run / LOG_NAME, (HeaderRecord.TYPE,)), None)
    return header.run_id if isinstance(header, HeaderRecord) else ""


def _tracked(connection: Connection, run_id: str, mlflow_run_id: str) -> TrackedRun:
    if mlflow_run_id:
        return get_run(connection, mlflow_run_id)
    found = find_run(connection, run_id)
    if found is None:
        if advice := deleted_run(connection, run_id):
            raise ConfigError(f"{_WHERE}: the run of {run_id} in MLflow at {connection.shown} was deleted: {advice}")
        raise ConfigError(
            f"{_WHERE}: MLflow at {connection.shown} has no run of {run_id}; upload it with: llmci report RUN --sink mlflow"
        )
    return found


def _in_tags(tracked: TrackedRun, run_id: str, log: Verification) -> str:
    """What its tags say otherwise; empty if nothing."""
    if not tracked.run_id:
        return "is no run of this package: it names no run folder"
    if tracked.run_id != run_id:
        return f"is of another run: {one_line(tracked.run_id)} instead of {run_id}"
    if tracked.model:
        return f"is of the model {one_line(tracked.model)} alone: give the run above it, or --against=mlflow"
    there = tracked.tags.get(LOG_TAG, "")
    if there != log.digest:
        return f"has another log: digest {there[:16] or 'none'} there, {log.digest[:16]} here"
    if (lines := tracked.tags.get(LINES_TAG, "")) != str(log.lines):
        return f"has another log: {lines or 'no'} lines there, {log.lines} here"
    if not tracked.is_whole:
        return "is not whole, as its upload was cut short: llmci report RUN --sink mlflow completes it"
    return ""


class _Files:
    def __init__(self, *, run: Path, connection: Connection, tracked: TrackedRun, place: Path) -> None:
        self._run, self._connection, self._tracked, self._place = run, connection, tracked, place
        self._there = list_artifacts(connection, tracked.id)
        self._manifest: Manifest | None = None
        """Of the copy."""
        self._same = 0

    def compared(self, where: str) -> Against:
        names = [name for _, name in artifact_files(self._run)]
        if text := self._in_manifest():
            return Against(difference=f"{where} {text}")
        missing: list[str] = []
        for name in sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
            if name == MANIFEST_NAME:
                continue
            if name not in self._there:
                if self._was_uploaded(name):
                    return Against(difference=f"{where} has no file {name}, which this run has")
                missing.append(name)
            elif text := self._in_file(name):
                return Against(difference=f"{where} has another {name} than this run: {text}")
            else:
                self._same += 1
        tables, text = self._in_tables()
        if text:
            return Against(difference=f"{where} {text}")
        return Against(
            shown=(
                f"{where} is this run: {LOG_TAG} is the digest of the log, and its {self._same} files are the same",
                f"the table of each model follows from the log ({tables} of {tables})",
            ),
            notes=tuple(self._notes(missing, names)),
        )  # fmt: skip

    def _in_tables(self) -> tuple[int, str]:
        """How many models there are, and what a model's own run has otherwise; empty if nothing."""
        report = build_report(self._run)
        facts, steps = Facts(report, read_run(self._run)), prompt_steps(report)
        children = {child.model: child for child in find_children(self._connection, self._tracked, WHOLE)}
        for model in report.models:
            child = children.get(model.alias)
            if child is None:
                return 0, f"has no whole run of the model {model.alias} below it, which this run has"
            expected = self._place / "expected"
            expected.write_text(model_contents(facts, model, steps).table, encoding="utf-8")
            if TABLE not in list_artifacts(self._connection, child.id):
                return 0, f"has no {TABLE} in its run {child.id} of the model {model.alias}"
            copy = download(self._connection, child.id, TABLE, self._place)
            if copy.read_bytes() != expected.read_bytes():
                return 0, f"has another {TABLE} in its run {child.id} of the model {model.alias} than the log gives"
        return len(report.models), ""

    def _copy(self, name: str) -> Path:
        return download(self._connection, self._tracked.id, name, self._place)

    def _in_manifest(self) -> str:
        """Whether the copy's manifest says something else of a file that both list; one of the two may list more."""
        if MANIFEST_NAME not in self._there:
            return ""
        try:
            self._copy(MANIFEST_NAME)
            self._manifest = read_manifest(self._place)
        except StoreError as error:
            return f"has a manifest that cannot be read: {error}"
        ours = read_manifest(self._run)
        if self._manifest is None or ours is None:
            return ""
        if self._manifest.digest() != self._manifest.run_digest:
            return f"has another {MANIFEST_NAME} than this run: its run digest does not fit what it lists"
        if (self._manifest.run, self._manifest.log_digest) != (ours.run, ours.log_digest):
            return f"has another {MANIFEST_NAME} than this run: it is of the log {self._manifest.log_digest[:16]}"
        for entry in self._manifest.files:
            if (own := ours.entry(entry.path)) is not None and own != entry:
                return f"has another {MANIFEST_NAME} than this run: {entry.path} with sha256 {entry.sha256[:16]}"
        if ours.run_digest == self._manifest.run_digest and ours != self._manifest:
            return f"has another {MANIFEST_NAME} than this run: its signature differs"
        self._same += 1
        return ""

    def _was_uploaded(self, name: str) -> bool:
        """Whether a file must be there: one of every run, or one that the copy's manifest lists, and not left out."""
        if any(line.startswith(f"{name}:") for line in self._left_out()):
            return False
        return name in _FIRST or (self._manifest is not None and self._manifest.entry(name) is not None)

    def _left_out(self) -> list[str]:
        return self._tracked.tags.get(LEFT_OUT_TAG, "").splitlines()

    def _in_file(self, name: str) -> str:
        copy = self._copy(name)
        try:
            return of_the_run(first_difference(copy, self._run / name))
        finally:
            copy.unlink()

    def _notes(self, missing: list[str], names: list[str]) -> Iterator[str]:
        if missing:
            yield f"MLflow does not have {_listed(missing)}"
        if more := sorted(set(self._there) - {*names, LONG_TEXTS, MANIFEST_NAME}):
            yield f"MLflow has more files, which were not looked at: {_listed(more)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(one_line, names[:_NAMED])) + more
