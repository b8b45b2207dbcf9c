"""Changes for the worse that are meant: ``accepted.toml`` in the folder of baselines, which a team commits.

::

    [[accepted]]
    cell = "smollm2-tcp-udp"     # or a glob
    metric = "latency"           # or a glob
    up_to = "10%"
    reason = "the tokenizer now checks its input"
    expires = 2026-09-30
    by = "Ada"                   # optional, as is when
    when = 2026-07-02

The file is read as a whole and written at its end, so that what people wrote into it stays.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError, StoreError
from ..records import ComparisonResult, GateRecord, VerdictRecord
from ..text import shown_path
from .log import LOG_NAME, LogReader
from .runfolder import replacing

FILE_NAME: Final = "accepted.toml"
EXPIRES_AFTER: Final = timedelta(days=90)
"""Unless told otherwise: until then the baseline should have been renewed."""
_TABLE: Final = "accepted"
_REQUIRED: Final = ("cell", "metric", "up_to", "reason", "expires")
_OPTIONAL: Final = ("by", "when")
_PERCENT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*\Z")
_HEADING: Final = re.compile(r"\s*\[\[\s*[\"']?accepted[\"']?\s*\]\]")
_HEAD: Final = "# Changes for the worse that are meant. Every comparison reads them; docs/baselines.md says more.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """One change that is meant."""

    cell: str
    """Id of a cell, or a glob."""
    metric: str
    """Name of a metric, or a glob."""
    up_to: float
    """Largest relative change for the worse that is accepted: 0.1 is 10 %."""
    reason: str
    expires: date
    """The last day on which it counts."""
    by: str = ""
    when: date | None = None

    def covers(self, cell: str, metric: str) -> bool:
        """Whether it is about that metric of that cell."""
        return fnmatchcase(cell, self.cell) and fnmatchcase(metric, self.metric)

    def expired(self, today: date) -> bool:
        """Whether it counts no longer."""
        return today > self.expires

    def __str__(self) -> str:
        return f"{self.metric} of {self.cell} up to {percent(self.up_to)} until {self.expires}: {self.reason}"


@dataclass(frozen=True, slots=True)
class AcceptedChanges:
    """What :func:`read_accepted` found, in the order of the file."""

    entries: tuple[Accepted, ...] = ()

    def accepted_for(self, cell: str, metric: str, change: float, today: date) -> Accepted | None:
        """The entry that accepts a change for the worse; None if none does.

        :param change: relative; its size counts, as a regression is a fall for a metric of which more is better.
        """
        for entry in self.entries:
            if entry.covers(cell, metric) and not entry.expired(today) and abs(change) <= entry.up_to:
                return entry
        return None

    def expired(self, today: date) -> tuple[Accepted, ...]:
        """Entries that count no longer."""
        return tuple(entry for entry in self.entries if entry.expired(today))


def percent(ratio: float) -> str:
    """A ratio as the file writes it.

    >>> percent(0.1), percent(0.025)
    ('10%', '2.5%')
    """
    return f"{100 * ratio:.6g}%"


def parse_up_to(text: object, where: str) -> float:
    """The ratio of a text like ``10%``.

    :raises ConfigError: if it is none, or zero.
    """
    match = _PERCENT.match(text) if isinstance(text, str) else None
    if match is None or float(match[1]) == 0:
        raise ConfigError(f'{where}: {text!r} is no size of a change; write a positive percentage like "10%".')
    return float(match[1]) / 100


# ------------------------------------------------------------------------------------------------------------ reading


def read_accepted(root: Path) -> AcceptedChanges:
    """The changes that are accepted; none if there is no file.

    :param root: the folder of baselines.
    :raises ConfigError: if the file says something else; one line with file, line and key.
    :raises StoreError: if it cannot be read.
    """
    path = root / FILE_NAME
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return AcceptedChanges()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{shown_path(path)}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown_path(path)}: is not TOML: {error}.") from error
    unknown = [key for key in data if key != _TABLE]
    tables = data.get(_TABLE, [])
    if unknown or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        key = unknown[0] if unknown else _TABLE
        raise ConfigError(f"{shown_path(path)}: key '{key}': write each accepted change as a table under [[{_TABLE}]].")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _HEADING.match(line)]
    wheres = (
        [f"{shown_path(path)}: line {line}" for line in lines]
        if len(lines) == len(tables)
        else [shown_path(path)] * len(tables)
    )
    return AcceptedChanges(tuple(map(_entry, tables, wheres)))


def accepting(root: Path, today: date) -> Callable[[str, ComparisonResult], str]:
    """What tells a comparison which regressions are meant: cell id and regression -> the reason, empty if it is not.

    :param root: the folder of baselines.
    :raises ConfigError: as :func:`read_accepted`.
    """
    changes = read_accepted(root)

    def reason(cell: str, regression: ComparisonResult) -> str:
        entry = changes.accepted_for(cell, regression.metric, regression.change or 0.0, today)
        return entry.reason if entry else ""

    return reason


def _entry(table: Mapping[str, Any], where: str) -> Accepted:
    for key in table:
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise ConfigError(f"{where}: unknown key '{key}'; known are {', '.join((*_REQUIRED, *_OPTIONAL))}.")
    for key in _REQUIRED:
        if key not in table:
            raise ConfigError(f"{where}: key '{key}' is missing; needed are {', '.join(_REQUIRED)}.")
    texts = {key: table.get(key, "") for key in ("cell", "metric", "reason", "by")}
    for key, value in texts.items():
        if not isinstance(value, str) or (key != "by" and not value.strip()):
            raise ConfigError(f"{where}: key '{key}': {value!r} is not a text with something in it.")
    dates = {key: _date(table[key], f"{where}: key '{key}'") for key in ("expires", "when") if key in table}
    return Accepted(
        cell=texts["cell"], metric=texts["metric"], up_to=parse_up_to(table["up_to"], f"{where}: key 'up_to'"),
        reason=texts["reason"], expires=dates["expires"], by=texts["by"], when=dates.get("when"),
    )  # fmt: skip


def _date(value: object, where: str) -> date:
    if isinstance(value, str):
        return parse_date(value, where)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ConfigError(f"{where}: {value!r} is no date; write it like 2026-09-30.")


def parse_date(text: str, where: str) -> date:
    """The day of a text like ``2026-09-30``.

    :raises ConfigError: if it is none.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"{where}: '{text}' is no date; write it like 2026-09-30.") from None


# ----------------------------------------------------------------------------------------------- what a run has proven


def proven_regressions(run: Path, cell: str, metric: str = "*") -> list[tuple[str, ComparisonResult]]:
    """The regressions of a run that nothing accepted, with their cells, or the alias where it is a model as a whole.

    :param run: the run folder.
    :param cell: id of a cell, alias of a model, or a glob.
    :param metric: name of a metric, or a glob.
    :raises StoreError: if its log cannot be read.
    """
    last: dict[tuple[str, str], VerdictRecord] = {}
    models: dict[str, GateRecord] = {}
    for record in LogReader(run / LOG_NAME, ["verdict", "gate"]):
        if isinstance(record, GateRecord) and record.model and fnmatchcase(record.model, cell):
            models[record.model] = record
        elif isinstance(record, VerdictRecord) and fnmatchcase(record.cell, cell):
            there = last.get((record.test, record.cell))
            if there is None or record.attempt >= there.attempt:
                last[record.test, record.cell] = record
    judged = [
        *((verdict.cell, verdict.comparisons) for verdict in last.values()),
        *((alias, gate.comparisons) for alias, gate in models.items()),
    ]
    found = {
        (name, each.metric, each.against): each
        for name, comparisons in judged
        for each in comparisons
        if each.verdict == "regressed" and not each.accepted and fnmatchcase(each.metric, metric)
    }
    return [(key[0], each) for key, each in found.items()]


def size_to_accept(regression: ComparisonResult) -> float | None:
    """The whole percentage that a regression may have been, by its interval; None where no size is known.

    What was estimated is an even bet: the next run's estimate may well be above it.
    """
    limit = regression.low if (regression.change or 0) < 0 else regression.high
    sizes = [abs(value) for value in (regression.change, limit) if value is not None and math.isfinite(value)]
    return max(1, math.ceil(100 * max(sizes) - 1e-9)) / 100 if sizes else None


# ------------------------------------------------------------------------------------------------------------ writing


def accept(root: Path, entries: Collection[Accepted]) -> Path:
    """Write entries at the end of the file; what is in it stays as it is.

    :returns: the file.
    :raises ConfigError: if what is there cannot be read.
    :raises StoreError: if it cannot be written.
    """
    read_accepted(root)
    path = root / FILE_NAME
    try:
        root.mkdir(parents=True, exist_ok=True)
        there = path.read_bytes().decode("utf-8") if path.exists() else _HEAD
        if there and not there.endswith("\n"):
            there += "\n"
        with replacing(path) as stream:
            stream.write(there + "".join(map(_table_text, entries)))
    except OSError as error:
        raise StoreError(f"{shown_path(path)}: cannot be written: {error.strerror or error}.") from error
    return path


def _table_text(entry: Accepted) -> str:
    lines = ["", f"[[{_TABLE}]]"]
    lines += [f"{key} = {_toml_text(getattr(entry, key))}" for key in ("cell", "metric")]
    lines += [f'up_to = "{percent(entry.up_to)}"', f"reason = {_toml_text(entry.reason)}", f"expires = {entry.expires}"]
    lines += [f"by = {_toml_text(entry.by)}"] if entry.by else []
    lines += [f"when = {entry.when}"] if entry.when else []
    return "\n".join(lines) + "\n"


_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


def _toml_text(text: str) -> str:
    r"""A TOML basic string.

    >>> print(_toml_text('say "so"\n'))
    "say \"so\"\n"
    """
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04X}"
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character  # TOML has no place for half a character
