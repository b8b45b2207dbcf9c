"""Whether the files of a run follow from its log: hashes of texts are computed anew, tables and documents made anew."""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from ..engine.blocks import output_md5
from ..engine.reports.report import SessionReport
from ..engine.reports.report_builder import ReportBuilder
from ..garbage import collector_paused
from ..records import RoundsRecord, Withheld
from ..sinks.csv import CsvSink
from ..sinks.json import JsonSink
from ..store.log import LOG_NAME, LogReader

DERIVED: Final = ("results.csv", "summary.csv", "results.json", "metrics.json")
"""What every run folder gets, and what comes out of the same log byte for byte."""
SOMETIMES: Final = ("questions.csv", "requests.csv")
"""What those get that have such things to tell, likewise."""
_PIECE: Final = 1 << 20
_SHOWN: Final = 60  # characters of a value that a message shows
_ANY_FIELD: Final = 1 << 30  # texts are longer than what the csv module takes by itself


@dataclass(frozen=True, kw_only=True)
class Derivation:
    """What came of it."""

    version: str
    """Of pytest-llmci, when the run was made."""
    outputs: int
    """Distinct outputs of blocks whose hashes were computed anew; 0 where the run keeps no texts."""
    redacted: bool
    """True where the run keeps hashes and no texts."""
    wrong_hash: str
    """The first hash in the log that is not that of its text, in one line; empty if there is none."""
    differences: Mapping[str, str] = field(default_factory=dict)
    """Derived file -> the first place where it is not what the log gives, in one line; those that are equal are not in it."""
    missing: tuple[str, ...] = ()
    """Derived files that are not there."""


def derive(folder: Path) -> Derivation:
    """Read the log, check its hashes, and compare every derived file with what the log gives. Memory: as a report.

    :raises LogTamperedError: if a line is not what was written.
    :raises StoreError: if the log cannot be read.
    :raises SinkError: if the files cannot be made for want of room in the folder for temporary files.
    """
    with collector_paused():
        report, outputs, wrong_hash = _read(folder)
        differences: dict[str, str] = {}
        missing: list[str] = []
        with tempfile.TemporaryDirectory(prefix="llmci-verify-") as place:
            for sink in (CsvSink(place), JsonSink(place)):
                sink.write(report, folder)
            for name in (*DERIVED, *(name for name in SOMETIMES if (Path(place) / name).exists())):
                if not (folder / name).is_file():
                    missing.append(name)
                elif found := first_difference(folder / name, Path(place) / name):
                    differences[name] = found
    return Derivation(
        version=report.header.version, outputs=outputs, redacted=_is_redacted(report), wrong_hash=wrong_hash,
        differences=differences, missing=tuple(missing),
    )  # fmt: skip


def _is_redacted(report: SessionReport) -> bool:
    return bool(report.header.settings.get("redact"))


def _read(folder: Path) -> tuple[SessionReport, int, str]:
    reader, builder = LogReader(folder / LOG_NAME), ReportBuilder()
    outputs, wrong = 0, ""
    redacted = False
    for record in reader:
        builder.take(record)
        if builder.lines == 1 and builder.header is not None:
            redacted = bool(builder.header.settings.get("redact"))
        if isinstance(record, RoundsRecord) and not redacted:
            outputs += sum(not withheld for withheld in _withheld(record))
            wrong = wrong or _wrong_hash(record, reader.lines)
    return builder.build(folder, digest=reader.digest), outputs, wrong


def _wrong_hash(record: RoundsRecord, line: int) -> str:
    """The first hash of a block that is not that of its text; empty if all are."""
    where = f"{LOG_NAME}: line {line} (rounds, {record.cell}):"
    if not record.prompt_withheld and record.prompt_sha256 != _sha256(record.prompt):
        return f"{where} prompt_sha256 is not that of its prompt"
    for number, (text, withheld) in enumerate(zip(record.outputs, _withheld(record), strict=True)):
        if withheld:  # the hashes are those of the original, which the log does not hold
            continue
        if record.output_sha256[number] != _sha256(text):
            return f"{where} output_sha256 of output {number + 1} is not that of its text"
        if not record.prompt_withheld and record.md5[number] != output_md5(record.model, record.prompt, text):
            return f"{where} md5 of output {number + 1} is not that of model, prompt and output"
    return ""


def _withheld(record: RoundsRecord) -> list[Withheld]:
    """Of each output, why it is not what the model answered; empty texts where it is."""
    return record.outputs_withheld or [""] * len(record.outputs)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# ----------------------------------------------------------------------------------------------- where two files differ


def first_difference(found: Path, expected: Path) -> str:
    """The first place where a file is not as expected, in one line without its name; empty if they are equal.

    A table names row and column, a JSON document the path, anything else the line.
    """
    if _equal(found, expected):
        return ""
    tell: Callable[[Path, Path], str] = _in_table if found.suffix == ".csv" else _in_lines
    return tell(found, expected) or "its bytes differ, though not in what they say"


def _equal(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
        while piece := left.read(_PIECE):
            if piece != right.read(_PIECE):
                return False
    return True


def _in_table(found: Path, expected: Path) -> str:
    columns: list[str] = []
    for number, (row, right) in enumerate(zip_longest(_rows(found), _rows(expected))):
        if row == right:
            columns = columns or row
            continue
        if row is None or right is None:
            return f"row {number}: {'is missing' if row is None else 'is one too many'}"
        columns = columns or right  # the header itself differs
        place = next(
            (each for each, pair in enumerate(zip_longest(row, right)) if pair[0] != pair[1]), 0
        )  # rows of other lengths differ where the shorter one ends
        name = columns[place] if place < len(columns) else str(place + 1)
        return f"{f'row {number}' if number else 'header'}, column {name}: {_pair(_at(row, place), _at(right, place))}"
    return ""


def _rows(path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(_ANY_FIELD)
    with path.open(encoding="utf-8", errors="backslashreplace", newline="") as stream:
        try:
            yield from csv.reader(stream, strict=False)
        except csv.Error as error:
            yield [f"cannot be read: {error}"]


def _at(row: list[str], place: int) -> str | None:
    return row[place] if place < len(row) else None


def _in_lines(found: Path, expected: Path) -> str:
    with found.open("rb") as left, expected.open("rb") as right:
        for number, (one, other) in enumerate(zip_longest(left, right), start=1):
            if one == other:
                continue
            if one is None or other is None:
                return f"line {number}: {'is missing' if one is None else 'is one too many'}"
            return f"line {number}: {_in_json(one, other) or 'differs'}"
    return ""


def _in_json(one: bytes, other: bytes) -> str:
    """Where two lines of a document that has a member or an element a line differ; empty if that cannot be told."""
    left, right = _part(one), _part(other)
    if right is None:
        return ""
    if left is None:
        return "is no JSON any more"
    return _path(left[0], right[0], "")


def _part(line: bytes) -> tuple[Any] | None:
    text = line.decode("utf-8", "backslashreplace").strip().rstrip(",")
    for whole in (text, f"{{{text.removeprefix('{')}}}"):
        try:
            return (json.loads(whole),)
        except ValueError:
            continue
    return None


def _path(one: Any, other: Any, above: str) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*other, *(key for key in one if key not in other)]:
            below = f"{above}.{key}" if above else str(key)
            if key not in one or key not in other:
                return f"{below} {'is missing' if key not in one else 'is one too many'}"
            if text := _path(one[key], other[key], below):
                return text
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((text for place, pair in pairs if (text := _path(*pair, f"{above}[{place}]"))), "")
    same = one == other and type(one) is type(other)
    return "" if same else f"{above or 'the value'}: {_pair(json.dumps(one), json.dumps(other))}"


def _pair(found: str | None, expected: str | None) -> str:
    shown = ["nothing" if text is None else text or "an empty text" for text in (found, expected)]
    begin = 0
    if all(len(text) > _SHOWN for text in shown):  # long texts are shown from shortly before the place
        same = next((at for at, (a, b) in enumerate(zip(*shown, strict=False)) if a != b), min(map(len, shown)))
        begin = max(0, same - _SHOWN // 3)
    one, other = [_short(text, begin) for text in shown]
    return f"{one} where the log gives {other}"


def _short(text: str, begin: int) -> str:
    end = begin + _SHOWN
    return f"{'...' if begin else ''}{text[begin:end]}{'...' if len(text) > end else ''}"
