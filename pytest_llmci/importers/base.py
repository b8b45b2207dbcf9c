"""What an importer is: it knows the files of one tool, and reads one into plain cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from ..clock import utc_text
from ..engine.imported import ONLY_AGGREGATES, ImportedCell, known_metrics
from ..records import Json
from ..units import format_rate, to_si
from .source import Source

NOT_THERE: Final = "the file does not have it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What a file says."""

    cells: Sequence[ImportedCell]
    tool: str = ""
    """The tool's name and version, as far as the file says."""
    machine: Mapping[str, Json] = field(default_factory=dict)
    """``cpu_model``, ``machine``, ``kernel``, ``git``: facts as the header of a log names them."""
    notes: Sequence[str] = ()
    """What was left out, and why."""


class Importer(Protocol):
    """Built without arguments."""

    def recognises(self, source: Source) -> bool:
        """Whether the file looks like one of this tool; looks at its first record or lines, and never raises."""

    def read(self, source: Source) -> Imported:
        """Read it.

        :raises ConfigError: in one line, if it is not what the tool writes.
        """


class Numbers:
    """The numbers of one cell: metric -> SI, or why there is none.

    What no measurement can have given (negative, zero where time must have passed, not finite, no number at all) is
    missing, and the reason says what the file has in its place.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[float | None]] = {}
        self.reasons: dict[str, str] = {}
        self.units: dict[str, str] = {}

    def take(self, metric: str, raw: object, written: str, where: str, *, zero: bool = False) -> None:
        """Take one number.

        :param raw: as the file has it; None where it has none.
        :param written: its unit there.
        :param where: the name of its field.
        :param zero: whether nought is a measurement.
        """
        if raw is None:
            self.reasons.setdefault(metric, NOT_THERE)
            return
        value, reason = measured(metric, raw, written, zero=zero)
        if value is None:
            self.reasons[metric] = f"{where} is {reason}"
            return
        self.values[metric] = [value]
        self.units[metric] = f"{where} [{written or '1'}]"

    def take_column(self, metric: str, raw: Iterable[object], written: str, where: str, *, zero: bool = False) -> None:
        """Take a number a round."""
        column: list[float | None] = []
        for each in raw:
            value, reason = measured(metric, each, written, zero=zero) if each is not None else (None, "not there")
            column.append(value)
            if value is None:
                self.reasons[metric] = f"{where} of a round is {reason}"
        if any(value is not None for value in column):
            self.values[metric] = column
            self.units[metric] = f"{where} [{written or '1'}]"

    def only_aggregates(self, *metrics: str) -> None:
        """Say of metrics that the file has statistics of them and no samples."""
        for metric in metrics:
            if metric not in self.values:
                self.reasons[metric] = ONLY_AGGREGATES


def measured(metric: str, raw: object, written: str, *, zero: bool = False) -> tuple[float | None, str]:
    """The SI value, or None and what is wrong with it."""
    value = number(raw)
    if value is None:
        return None, f"{str(raw)[:20]!r}, which is no number"
    if not math.isfinite(value):
        return None, f"{value}"
    if value < 0 or (value == 0 and not zero):
        return None, f"{format_rate(value)}, which nothing can have measured"
    found = to_si(value, written, known_metrics()[metric].unit)
    return (None, f"in '{written}', which is no unit of it") if found is None else (found, "")


def number(raw: object) -> float | None:
    """A number as JSON or CSV has it; None for anything else, truth values included."""
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return None
    try:
        return float(raw)
    except (ValueError, OverflowError):
        return None


def count(raw: object) -> int | None:
    """A whole number of things; None for anything else."""
    value = number(raw)
    return int(value) if value is not None and value >= 0 and math.isfinite(value) and value == int(value) else None


def text(raw: object) -> str:
    """The text, or an empty one for anything else."""
    return raw if isinstance(raw, str) else ""


def mapping(raw: object) -> Mapping[str, object]:
    """The object, or an empty one for anything else."""
    return raw if isinstance(raw, dict) else {}


def plain(raw: object) -> Json:
    """A setting as the log can keep it: what is neither a text nor a finite number nor a truth value is written out."""
    if raw is None or isinstance(raw, (bool, str)):
        return raw
    if isinstance(raw, (int, float)) and math.isfinite(raw):
        return raw
    return str(raw)[:200]


def utc_of(when: object) -> str:
    """A moment as the log has it, of ISO 8601 (without a zone: UTC) or of seconds since 1970; empty if it is none."""
    seconds = number(when) if not isinstance(when, str) else None
    try:
        if seconds is not None:
            return utc_text(datetime.fromtimestamp(seconds, UTC))
        found = datetime.fromisoformat(text(when))
        return utc_text(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError, OSError):
        return ""


def requests_failed(asked: int | None, completed: int | None, failed: int | None) -> str:
    """Why a run of requests counts as failed; empty if it does not.

    Requests that neither completed nor failed were cut short by the tool, as at its time limit; more of them than of completed
    ones leave a run that tells of its first moments alone.

    :param asked: all of them, where the file counts them.
    :param failed: those that ended in an error; None where the file does not tell them from the rest.
    """
    if completed == 0:
        return f"none of {asked:,} requests completed" if asked else "no request completed"
    if failed:
        whole = asked if asked is not None else (completed or 0) + failed
        return f"{failed:,} of {whole:,} requests failed"
    rest = asked - completed if asked is not None and completed is not None else 0
    if completed is not None and rest > (0 if failed is None else completed):
        return f"{completed:,} of {asked:,} requests completed"
    return ""
