"""What a parallel test process recorded: a file of its own with the same records as in the log, and without the chain."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from ..errors import StoreError
from ..records import LOG_RECORDS, LogRecord, from_json
from .line_file import LineFile, Tail, open_lines
from .log import Protect, as_it_is
from .record_bytes import encode_record, uid_of

SPOOL_NAME: Final = "spool"
"""Folder of the run folder in which they are."""


class SpoolWriter(LineFile):
    """Appends records to a process's own file, so that :func:`.recovery.recover` finds what never reached the log.

    :param path: made if it does not exist; an unfinished last line in it is dropped.
    :param protect: see :class:`.log.LogWriter`.
    """

    def __init__(self, path: Path, *, protect: Protect | None = None) -> None:
        self._protect = protect or as_it_is
        super().__init__(path, Tail(0, 0, ""), os.O_CREAT)
        self.go_on(_spool_tail(path))  # there may be the half of a line behind it

    def append(self, record: LogRecord) -> bytes:
        """Write one record.

        :returns: the record as it was written, one JSON object in ASCII.
        :raises StoreError: if it cannot be written; the file then ends with the record before.
        """
        self.settle()
        body = encode_record(self._protect(record))
        self.write_line(body + b"\n", Tail(self.tail.size + len(body) + 1, self.tail.lines + 1, ""))
        return body


def _spool_tail(path: Path) -> Tail:
    size = lines = 0
    with open_lines(path) as stream:
        for line in stream:
            if line.endswith(b"\n"):
                size, lines = size + len(line), lines + 1
    return Tail(size, lines, "")


def read_spool(path: Path, but: Collection[str] = ()) -> Iterator[LogRecord]:
    """The records of a spool file, up to its last whole line.

    :param but: uids of records that are not wanted: they are there already, and need not be built again.
    :raises StoreError: if the file or one of its lines cannot be read.
    """
    for found in spool_lines(path, but):
        if isinstance(found, StoreError):
            raise found
        yield found


def records_of_spool(path: Path) -> Iterator[tuple[LogRecord, int, bytes]]:
    """The same, each with the offset of its line and the line.

    :raises StoreError: if the file or one of its lines cannot be read.
    """
    begin = 0
    with open_lines(path) as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.endswith(b"\n"):
                found = _record(path, number, raw)
                if isinstance(found, StoreError):
                    raise found
                yield found, begin, raw
            begin += len(raw)


def spool_lines(path: Path, but: Collection[str] = ()) -> Iterator[LogRecord | StoreError]:
    """:func:`read_spool` that goes on behind a line that holds no record: in its place comes what is wrong with it."""
    with open_lines(path) as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.endswith(b"\n") and not (but and uid_of(raw) in but):
                yield _record(path, number, raw)


def _record(path: Path, number: int, raw: bytes) -> LogRecord | StoreError:
    try:
        data = json.loads(raw)
        return from_json(LOG_RECORDS[data["type"]], data)
    except (ValueError, TypeError, KeyError, StoreError) as error:
        return StoreError(f"{path}: line {number} is no record: {type(error).__name__}: {error}")
