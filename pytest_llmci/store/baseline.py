"""Baselines: what a finished run measured, kept in small files that a team commits.

``<folder>/<name>/<environment digest>.json`` holds what was measured on one kind of machine, so that a laptop and a CI runner
do not overwrite each other. A file holds one session, or the newest few of them (:func:`save` with ``append``): their
spread is what tells a change of the code from a change of the day. Beside the numbers stands what it takes to run them again.

History of the schema:

llmci-baseline/1   first version
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

from ..clock import SystemClock
from ..errors import ConfigError, SchemaVersionError, StoreError
from ..metrics import MetricDef
from ..records import GenerationSettings, Json, ModelSpec, Prompt, from_json
from ..settings import BASELINE_NAME
from ..text import shown_path
from .comparability import Difference, Part
from .runfolder import replacing

FAMILY: Final = "llmci-baseline/"
SCHEMA: Final = f"{FAMILY}1"
MOST_SESSIONS: Final = 10
"""Sessions that a file keeps; the spread between days is known well enough by then."""
OLD_AFTER: Final = timedelta(days=90)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")

# ---------------------------------------------------------------------------------------------------- what a file holds


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineModel:
    """One model, as it was when its cells were measured."""

    alias: str
    spec: ModelSpec
    subject: dict[str, Json]
    """What was on trial: see :func:`~pytest_llmci.store.comparability.subject_part`."""
    values: dict[str, list[float]] = field(default_factory=dict)
    """Metric of scope ``worker`` -> its number at each start of the model's process, as stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineMemory:
    """What the memory pass of a cell measured, in a process with an allocator of its own."""

    method: str
    """How, as in ``memory_method``."""
    samples: dict[str, list[float]]
    """Metric of scope ``memory`` -> its number in each round that has it, as stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineCell:
    """One cell as one test measured it. Contended, failed, repeated and reference blocks are left out."""

    id: str
    model: str
    """Alias."""
    prompt: str
    """Key of its row in :attr:`BaselineRecord.prompts`."""
    test: str
    """Node id."""
    generation: GenerationSettings
    protocol: dict[str, Json]
    """What was asked and how it was measured: see :func:`~pytest_llmci.store.comparability.protocol_part`."""
    rounds: int
    """Samples: measured rounds, or means of ``repeats`` rounds in a row where answers are too short to be timed alone."""
    samples: dict[str, list[float | None]]
    """Metric of scope ``round`` -> its number in each sample, as stored; only what can be compared."""
    processes: list[int]
    """Samples of each start of the model's process, in order; they sum to ``rounds``."""
    repeats: int = 1
    noisy_rounds: int = 0
    """Samples with a noisy round."""
    outputs: list[str] = field(default_factory=list)
    """sha256 of each distinct output."""
    output_of_round: list[int] = field(default_factory=list)
    """Index into ``outputs`` and ``finish_reasons`` of each sample's first round."""
    finish_reasons: list[str] = field(default_factory=list)
    """Of the first round that gave the output."""
    checks: dict[str, bool] = field(default_factory=dict)
    """Check -> whether the output passed it."""
    memory_pass: BaselineMemory | None = None
    """None where there was none."""

    @property
    def pairs(self) -> tuple[int, ...]:
        """Which start of the model's process each sample came from, from 0."""
        return tuple(number for number, count in enumerate(self.processes) for _ in range(count))


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineTask:
    """The answers to one benchmark task."""

    id: str
    """Of the cell: ``<alias>-<task>``."""
    model: str
    task: str
    test: str
    """Node id."""
    main: str
    """The metric that is the score."""
    label: str
    """How many of how many questions."""
    questions_sha256: str
    prompt_sha256: str
    right: list[float]
    """What each question adds to the metric, 0 to 1, in the order of the file."""
    deterministic: bool | None = None
    """Whether questions that were asked twice got the same numbers to the last bit; None where none was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where the numbers came from, and how to run them again."""

    commit: str | None
    """Of the checkout; None outside of one."""
    dirty: bool
    """True where tracked files were changed."""
    lock_files: dict[str, str] = field(default_factory=dict)
    """Name of a lock file in the project's root -> its sha256."""
    command: list[str] = field(default_factory=list)
    settings: dict[str, Json] = field(default_factory=dict)
    """Of the session: :data:`~pytest_llmci.store.baseline_log.RUN_SETTINGS`."""
    python: str = ""
    packages: dict[str, Json] = field(default_factory=dict)
    """Package -> version, of those that can change a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineSession:
    """What one session measured."""

    saved: str
    """UTC, ISO 8601."""
    run_id: str
    version: str
    """Of pytest-llmci."""
    origin: Origin
    models: list[BaselineModel]
    cells: list[BaselineCell]
    tasks: list[BaselineTask] = field(default_factory=list)
    """Benchmark tasks that were answered to their end."""

    def cell(self, cell_id: str, test: str = "") -> BaselineCell | None:
        """The cell of that id: the one of that test, else the first."""
        found = [cell for cell in self.cells if cell.id == cell_id]
        return next((cell for cell in found if cell.test == test), found[0] if found else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineRecord:
    """One file: the sessions of one name on one kind of machine."""

    schema: str
    """:data:`SCHEMA`."""
    name: str
    environment: dict[str, Json]
    """The machine: see :func:`~pytest_llmci.store.comparability.environment_part`."""
    environment_digest: str
    metrics: list[MetricDef]
    """Unit and direction of what the sessions hold; the definitions stand in docs/metrics.md."""
    prompts: dict[str, Prompt]
    """Whole rows, so that they can be asked again; the key is the row's id and a short digest of the row."""
    sessions: list[BaselineSession]
    """Oldest first, at least one."""

    @property
    def newest(self) -> BaselineSession:
        """The session that a comparison is made with."""
        return self.sessions[-1]

    def cell(self, cell_id: str, test: str = "") -> BaselineCell | None:
        """The newest session's cell of that id: the one of that test, else the first."""
        return self.newest.cell(cell_id, test)

    @property
    def cells_with_memory_pass(self) -> frozenset[str]:
        """Ids of the newest session's cells that had a memory pass."""
        return frozenset(cell.id for cell in self.newest.cells if cell.memory_pass is not None)

    def model(self, alias: str) -> BaselineModel | None:
        """The newest session's model of that alias."""
        return next((model for model in self.newest.models if model.alias == alias), None)

    def values(self, cell: BaselineCell, metric: str) -> list[float]:
        """The sample of a metric in SI, in the order of measuring, missing rounds left out; empty where there is none."""
        return self._si(metric, cell.samples.get(metric, ()))

    def worker_values(self, alias: str, metric: str, session: BaselineSession | None = None) -> list[float]:
        """A metric of scope ``worker`` at each start of the model's process in a session, the newest if None, in SI."""
        model = next((each for each in (session or self.newest).models if each.alias == alias), None)
        return self._si(metric, model.values.get(metric, ())) if model else []

    def _si(self, metric: str, stored: Iterable[float | None]) -> list[float]:
        definition = next((each for each in self.metrics if each.name == metric), None)
        known = [value for value in stored if value is not None]
        return [definition.to_si(value) for value in known] if definition else known


# ----------------------------------------------------------------------------------------------------------- on the disk


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
    return _holding(joined, [*there.sessions, *new.sessions][-MOST_SESSIONS:])


def _holding(record: BaselineRecord, sessions: list[BaselineSession]) -> BaselineRecord:
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
        if _time_of(session) is None:
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


def _time_of(session: BaselineSession) -> datetime | None:
    try:
        found = datetime.fromisoformat(session.saved)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# -------------------------------------------------------------------------------------------------- finding and choosing


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineFile:
    """One file of a folder of baselines."""

    name: str
    path: Path
    record: BaselineRecord | None
    """None if it cannot be read."""
    error: str = ""
    """Why not."""


def list_baselines(root: Path) -> list[BaselineFile]:
    """Every baseline file below ``root``, by name and then by environment; empty if there is no such folder."""
    return [_listed(path) for path in _files(root)]


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/*.json") if not path.name.startswith("."))


def _listed(path: Path) -> BaselineFile:
    try:
        return BaselineFile(name=path.parent.name, path=path, record=load(path))
    except StoreError as error:
        return BaselineFile(name=path.parent.name, path=path, record=None, error=str(error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The baseline that a comparison is to be made with."""

    name: str
    """As it was asked for."""
    path: Path
    record: BaselineRecord
    differences: tuple[Difference, ...]
    """Where the machine that it was saved on is another one, from that one to this; empty if it is the same."""
    warnings: tuple[str, ...] = ()
    registered: str = ""
    """``NAME@ALIAS`` of MLflow's registry, where it is the run behind that; empty for one of a file."""
    measuring: str = ""
    """The command that measures what is compared with it; empty where that is not known."""

    @property
    def renewal(self) -> str:
        """What puts a newer one in its place."""
        return renewal(self.record.name, self.registered, self.measuring)

    @property
    def same_environment(self) -> bool:
        """True if times may be compared with it."""
        return not self.differences


def choose(
    root: Path,
    name: str,
    environment: Part,
    *,
    base: Path | None = None,
    now: datetime | None = None,
    registered: str = "",
    measuring: str = "",
) -> Chosen:
    """The file of that name that was saved on this machine, else on the one that is most like it.

    Among several of equal standing it is the newest. A fact that ``environment`` does not name is not compared, so that it can
    be chosen before it is known which accelerator a model runs on.

    :param root: the folder of baselines.
    :param name: of a baseline, or the path of one of its files or of a folder of them.
    :param environment: of this machine: :func:`~pytest_llmci.store.comparability.machine_part`.
    :param base: what a relative path starts from; the working directory if None.
    :param now: for its age.
    :param registered: ``NAME@ALIAS`` of MLflow's registry that the file stands for, and that it is then called by.
    :param measuring: see :attr:`Chosen.measuring`.
    :raises ConfigError: if there is none of that name.
    :raises StoreError: if one of its files cannot be read.
    """
    candidates = [
        (_differences(record, environment), path, record)
        for path in find(root, name, base, measuring)
        for record in (load(path),)
    ]
    differences, path, record = min(candidates, key=lambda each: (len(each[0]), -_stamp(each[2].newest), each[1].name))
    age = (now or SystemClock().utc()) - datetime.fromtimestamp(_stamp(record.newest), UTC)
    shown = registered or name
    old = (
        f"baseline {shown} is {age.days} days old: what has changed since hides behind it; renew it:"
        f" {renewal(record.name, registered, measuring)}"
    )
    warnings = (old,) if age > OLD_AFTER else ()
    return Chosen(
        name=shown,
        path=path,
        record=record,
        differences=differences,
        warnings=warnings,
        registered=registered,
        measuring=measuring,
    )


def renewal(name: str, registered: str = "", measuring: str = "") -> str:
    """What puts a newer baseline in the place of one: a command, where it is known.

    :param registered: see :attr:`Chosen.registered`.
    :param measuring: see :attr:`Chosen.measuring`.
    """
    if not registered:
        option = f"--llmci-save-baseline={name}"
        return f"{measuring} {option}" if measuring else f"add {option} to the pytest command that measures"
    model, _, alias = registered.partition("@")
    return f"llmci promote {model} --alias {alias}"


def _stamp(session: BaselineSession) -> float:
    found = _time_of(session)
    return found.timestamp() if found else 0.0


def _differences(record: BaselineRecord, environment: Part) -> tuple[Difference, ...]:
    saved_on = Part({name: record.environment.get(name) for name in environment.facts})
    return saved_on.differences(environment)


def find(root: Path, name: str, base: Path | None = None, measuring: str = "") -> list[Path]:
    """The files of a baseline.

    :param name: of a baseline below ``root``, or the path of a file or folder.
    :param base: what a relative path starts from.
    :param measuring: see :attr:`Chosen.measuring`.
    :raises ConfigError: if there is none; it names those that exist, and what makes one.
    """
    by_path = is_path(name)
    folder = (base or Path()) / Path(name).expanduser() if by_path else root / name
    if by_path and folder.is_file():
        return [folder]
    found = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    if found:
        return found
    what = f"'{name}' is no baseline's file and no folder of them" if by_path else f"there is no baseline '{name}'"
    names = ", ".join(dict.fromkeys(path.parent.name for path in _files(root)))
    named = name if _NAME.match(name) and not by_path else BASELINE_NAME
    raise ConfigError(
        f"{what}; {shown_path(root)} holds {names or 'none'}. Make one: {renewal(named, measuring=measuring)}"
    )


def is_path(name: str) -> bool:
    """Whether a baseline is asked for by its file or folder, and not by its name."""
    return "/" in name or "\\" in name or name.endswith(".json") or name in (".", "..")


def protocol_differences(
    record: BaselineRecord, cell_id: str, planned: Part, test: str = ""
) -> tuple[Difference, ...] | None:
    """Where a cell is asked or measured otherwise than when the baseline was saved, from then to now.

    Facts that ``planned`` does not name are not compared: some are known only when the cell has been measured.

    :param planned: :func:`~pytest_llmci.store.comparability.planned_protocol`, or the whole part afterwards.
    :returns: None if the baseline does not have the cell.
    """
    cell = record.cell(cell_id, test)
    if cell is None:
        return None
    return Part({name: cell.protocol.get(name) for name in planned.facts}).differences(planned)


# ---------------------------------------------------------------------------------------------------------------- pruning


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What was taken out of one file."""

    path: Path
    sessions: tuple[BaselineSession, ...]
    """Those that were too old."""
    deleted: bool
    """True if no session was left, and the file went with them."""


def prune(
    root: Path, older_than: timedelta = OLD_AFTER, *, name: str = "", now: datetime | None = None, dry_run: bool = False
) -> list[Pruned]:
    """Take sessions out that are older, and files in which none is left.

    :param name: of one baseline; empty for all. A file that cannot be read stays.
    :param dry_run: change nothing, and say what would be.
    :raises ConfigError: if there is no baseline of that name.
    :raises StoreError: if a file cannot be changed.
    """
    oldest = ((now or SystemClock().utc()) - older_than).timestamp()
    files = find(root, name) if name else _files(root)
    found = []
    for listed in map(_listed, files):
        sessions = listed.record.sessions if listed.record else []
        old = [session for session in sessions if _stamp(session) < oldest]
        if old and listed.record:
            kept = [session for session in sessions if _stamp(session) >= oldest]
            if not dry_run:
                _keep(listed.path, listed.record, kept)
            found.append(Pruned(path=listed.path, sessions=tuple(old), deleted=not kept))
    return found


def _keep(path: Path, record: BaselineRecord, sessions: list[BaselineSession]) -> None:
    try:
        if sessions:
            with replacing(path) as stream:
                stream.write(baseline_text(_holding(record, sessions)))
            return
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    except OSError as error:
        raise StoreError(f"{shown_path(path)}: cannot be changed: {error.strerror or error}.") from error
