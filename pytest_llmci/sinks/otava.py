"""``otava``: a history for Apache Otava (formerly Hunter), a CSV file that gets a row a run.

Columns: ``time``, ``run``, ``commit``, ``branch``, then ``<alias>.<metric>``: the median over a model's rounds, SI. A ``{model}``
in FILE makes a file a model, whose columns are the metrics' names; ``cells`` is the number of its cells. The row of a run that
is there already is replaced, and rows are in the order of time. Otava cannot read a gap, and does not see what is behind a
``nan``: a run that was stopped early, or in which a model has a cell that was not measured, gets no row, and a warning says so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from ..backends.cache import locked
from ..engine.reports.report import ModelSummary, SessionReport
from ..errors import SinkError
from .csv import guard_text
from .figures import figures, unmeasured_cells
from .files import target_file, written

FILE_NAME: Final = "otava.csv"
ATTRIBUTES: Final = ("time", "run", "commit", "branch")
"""The first columns: Otava's time column, and what it may show beside a change."""
PLACEHOLDER: Final = "{model}"
ENDED: Final = (0, 1)
"""Exit statuses of a session that ran all its tests, whatever became of them."""
Row = Mapping[str, str]


class OtavaSink:
    """Adds the run to the history.

    :param target: the file, or a file a model where it holds ``{model}``; empty for ``otava.csv`` beside the run folders.
    """

    live_only = True

    def __init__(self, target: str = "") -> None:
        self._target = target

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        """:raises SinkError: also where a row was left out; the other models' are then written."""
        path = target_file(self._target, folder.parent, FILE_NAME)
        if report.footer is None or report.footer.exit_status not in ENDED or not report.models:
            raise SinkError(_no_row(path, report, "it was stopped before its end, or measured nothing"))
        parts: list[tuple[Path, tuple[ModelSummary, ...]]]
        if PLACEHOLDER in str(path):
            parts = [(Path(str(path).replace(PLACEHOLDER, model.alias)), (model,)) for model in report.models]
        else:
            parts = [(path, report.models)]
        files: list[Path] = []
        refused: list[str] = []
        for file, models in parts:
            missing = [model.alias for model in models if unmeasured_cells(model)]
            if missing:
                refused += missing
                continue
            _add(file, _row(report, models, prefixed=file is path))
            files.append(file)
        if refused:
            raise SinkError(_no_row(path, report, f"not every cell of {', '.join(refused)} was measured"))
        return files


def _no_row(path: Path, report: SessionReport, why: str) -> str:
    return f"{path}: run {report.header.run_id} got no row, as Otava cannot read a gap: {why}."


def _row(report: SessionReport, models: Iterable[ModelSummary], *, prefixed: bool) -> Row:
    git = report.header.environment.get("git")
    facts = git if isinstance(git, dict) else {}
    row = {
        "time": report.header.started,
        "run": report.header.run_id,
        "commit": str(facts.get("commit") or ""),
        "branch": guard_text(str(facts.get("branch") or "")),
    }
    for model in models:
        prefix = f"{model.alias}." if prefixed else ""
        row[f"{prefix}cells"] = str(len(model.cells))
        for figure in figures(model, "lower", "higher"):
            row[prefix + figure.metric.name] = repr(figure.median)
    return row


def _add(path: Path, row: Row) -> None:
    with _alone(path):
        columns, rows = _read(path)
        rows = [*(old for old in rows if old["run"] != row["run"]), row]
        rows.sort(key=lambda each: each["time"])  # stable; the same form in every run
        with written(path) as stream:
            writer = csv.DictWriter(stream, list(dict.fromkeys([*columns, *row])), restval="")
            writer.writeheader()
            writer.writerows(rows)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While another session adds its row, wait: it takes milliseconds."""
    try:
        with locked(path.with_name(f".{path.name}.lock"), lambda: None):
            yield
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror or error}.") from error


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """The columns and rows that are there; none where there is no file.

    :raises SinkError: if it is something else than a history of this sink.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return _parsed(path, stream)
    except FileNotFoundError:
        return [*ATTRIBUTES], []
    except OSError as error:
        raise SinkError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _parsed(path: Path, stream: IO[str]) -> tuple[list[str], list[Row]]:
    other = f"{path}: line {{}} is not of a history that this sink wrote: it was left alone; name another file."
    try:
        lines = list(csv.reader(stream, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise SinkError(f"{path} is no CSV file ({error}): it was left alone; name another file.") from error
    columns = lines[0] if lines else [*ATTRIBUTES]
    if columns[: len(ATTRIBUTES)] != [*ATTRIBUTES] or len(set(columns)) < len(columns):
        raise SinkError(other.format(1))
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(columns):
            raise SinkError(other.format(number))
    return columns, [dict(zip(columns, line, strict=True)) for line in lines[1:]]
