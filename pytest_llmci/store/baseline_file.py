"""Baselines: what a finished run measured, kept in small files that a team commits.

``<folder>/<name>/<environment digest>.json`` holds what was measured on one kind of machine, so that a laptop and a CI runner
do not overwrite each other. A file holds one session, or the newest few of them (:func:`save` with ``append``): their
spread is what tells a change of the code from a change of the day.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

from ..errors import ConfigError, SchemaVersionError, StoreError
from ..records import from_json
from ..settings import BASELINE_NAME
from ..text import shown_path
from .baseline_record import FAMILY, SCHEMA, BaselineRecord, BaselineSession, time_of
from .runfolder import replacing

MOST_SESSIONS: Final = 10
"""Sessions that a file keeps; the spread between days is known well enough by then."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


def is_name(text: str) -> bool:
    """Whether a baseline may be called so."""
    return _NAME.match(text) is not None


def check_name(name: str, where: str) -> None:
    """Refuse what is no name of a baseline.

    :param where: the option, for the message.
    :raises ConfigError: if it is none.
    """
    if not is_name(name):
        raise ConfigError(
            f"{where}: '{name}' is no name of a baseline; write letters, digits, '.', '_' and '-', such as {BASELINE_NAME}."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """What :func:`save` did."""

    path: Path
    record: BaselineRecord
    """As it stands in the file now."""
    dropped: tuple[str, ...]
    """Cells of the file's newest session before that the new one does not have."""


def save(record: BaselineRecord, root: Path, *, append: bool = False) -> Saved:
    """Write ``<root>/<name>/<environment digest>.json``; nobody ever sees half of it.

    :param record: of one session.
    :param append: keep the sessions that are there, the newest :data:`MOST_SESSIONS` in all; else they are replaced.
    :raises StoreError: if it cannot be written, or sessions were to be kept that cannot be read.
    """
    path = root / record.name / f"{record.environment_digest}.json"
    there = _there(path, must=append)
    if append and there is not None:
        record = _joined(there, record)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(baseline_text(record))
    except OSError as error:
        raise StoreError(f"{shown_path(path)}: cannot be written: {error.strerror or error}.") from error
    new = {cell.id for cell in record.newest.cells}
    old = {cell.id for cell in there.newest.cells} if there is not None else set()
    return Saved(path=path, record=record, dropped=tuple(sorted(old - new)))


def _there(path: Path, *, must: bool) -> BaselineRecord | None:
    if not path.exists():
        return None
    try:
        return load(path)
    except StoreError as error:
        if must:
            raise StoreError(f"{error} Its sessions cannot be kept: mend it, or replace it.") from error
        return None


def _joined(there: BaselineRecord, new: BaselineRecord) -> BaselineRecord:
    defs = {metric.name: metric for metric in (*there.metrics, *new.metrics)}
    joined = replace(new, metrics=list(defs.values()), prompts={**there.prompts, **new.prompts})
    return holding(joined, [*there.sessions, *new.sessions][-MOST_SESSIONS:])


def holding(record: BaselineRecord, sessions: list[BaselineSession]) -> BaselineRecord:
    """The record with these sessions, and with the prompts that they refer to."""
    used = {cell.prompt for session in sessions for cell in session.cells}
    prompts = {key: row for key, row in sorted(record.prompts.items()) if key in used}
    return replace(record, prompts=prompts, sessions=sessions)


_ITEM_A_LINE: Final[Mapping[str, Any]] = {
    "metrics": {}, "prompts": {}, "sessions": {"*": {"models": {}, "cells": {}, "tasks": {}}},
}  # fmt: skip
"""What is broken into lines, so that a change of one cell is a change of one line."""


def baseline_text(record: BaselineRecord) -> str:
    """The file: JSON with a cell, a model, a prompt or a metric a line, without what is empty and need not be given."""
    return _laid_out(_sparse(record), _ITEM_A_LINE, "") + "\n"


def _sparse(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        if isinstance(value, Mapping):
            return {key: _sparse(item) for key, item in value.items()}
        return [_sparse(item) for item in value] if isinstance(value, (list, tuple)) else value
    return {
        entry.name: _sparse(held)
        for entry in dataclasses.fields(value)
        if (held := getattr(value, entry.name)) or held != _default(entry)
    }


def _default(entry: dataclasses.Field[Any]) -> Any:
    """What a reader takes where the field is not given; only one that is empty will be the same in every version."""
    return entry.default if entry.default_factory is dataclasses.MISSING else entry.default_factory()


def _laid_out(value: Any, lines: Mapping[str, Any] | None, indent: str) -> str:
    """:param lines: which of the value's items are laid out in their turn; None: all of it in one line."""
    if lines is None or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ": "))
    inner = indent + " "
    if isinstance(value, list):
        items = [_laid_out(item, lines.get("*"), inner) for item in value]
        opened, closed = "[", "]"
    else:
        items = [f"{json.dumps(key)}: {_laid_out(item, lines.get(key), inner)}" for key, item in value.items()]
        opened, closed = "{", "}"
    return f"{opened}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{closed}"


def load(path: Path) -> BaselineRecord:
    """Read one file.

    :raises SchemaVersionError: if it was written by a version that this one does not know.
    :raises StoreError: if it cannot be read or is no baseline; one line that says where.
    """
    try:
        data = json.loads(path.read_text("utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise StoreError(f"{shown_path(path)}: cannot be read: {error.strerror or error}.") from error
    except json.JSONDecodeError as error:
        raise StoreError(f"{shown_path(path)}: line {error.lineno} is not JSON: {error.msg}.{_TAKE_BACK}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{shown_path(path)}: is not JSON: {error}.{_TAKE_BACK}") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, str) or not schema.startswith(FAMILY):
        raise StoreError(f"{shown_path(path)}: is no baseline: its 'schema' is {schema!r}, expected '{SCHEMA}'.")
    if schema != SCHEMA:
        raise SchemaVersionError(
            f"{shown_path(path)}: schema '{schema}' is not known, this version reads '{SCHEMA}'; use the pytest-llmci that wrote it"
            " or save it again."
        )
    try:
        record = from_json(BaselineRecord, data)
    except StoreError as error:
        raise StoreError(f"{shown_path(path)}: {error}{_TAKE_BACK}") from error
    if fault := _fault(record):
        raise StoreError(f"{shown_path(path)}: {fault}.{_TAKE_BACK}")
    return record


_TAKE_BACK: Final = " Take the committed file back, or save it again."


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no measured number")


def _fault(record: BaselineRecord) -> str:
    """What does not fit together; empty if all does."""
    if not record.sessions:
        return "it holds no session"
    for session in record.sessions:
        if time_of(session) is None:
            return f"session {session.run_id}: '{session.saved}' is no time"
        for cell in session.cells:
            if cell.prompt not in record.prompts:
                return f"cell {cell.id}: prompt '{cell.prompt}' is not in the file"
            columns: dict[str, Sequence[object]] = {**cell.samples}
            if not cell.protocol.get("load"):  # whose rounds have no output
                columns["output_of_round"] = cell.output_of_round
            wrong = [name for name, column in columns.items() if len(column) != cell.rounds]
            if wrong or sum(cell.processes) != cell.rounds:
                name = wrong[0] if wrong else "processes"
                return f"cell {cell.id}: {name} does not have its {cell.rounds} rounds"
            if any(not 0 <= place < len(cell.outputs) for place in cell.output_of_round):
                return f"cell {cell.id}: a round has an output that is not listed"
            infinite = [name for name, column in cell.samples.items() if not all(map(_is_finite, column))]
            if infinite:
                return f"cell {cell.id}: {infinite[0]} holds a number that is not finite"
    return ""


def _is_finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)
