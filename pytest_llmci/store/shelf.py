"""The records of a run, found again where they lie: whoever goes through them keeps places and not records.

A log is proven once, from its first line to its last. A record that is fetched later is held against what was seen then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import LogTamperedError, StoreError
from ..records import LogRecord
from .log import LOG_NAME, LogReader
from .record_bytes import record_of
from .spool import SPOOL_NAME, records_of_spool


class Place(NamedTuple):
    """Where a line is."""

    file: int
    """0 is the log, the others are spools."""
    begin: int
    """Offset in bytes."""
    length: int
    seen: int
    """Hash of its bytes, of this process."""


class Shelf:
    """A run folder's log, up to its last whole line, and what parallel workers had recorded and not handed over.

    Memory: one line.
    """

    def __init__(self, folder: Path, kinds: Collection[str] = (), *, spools: bool = False) -> None:
        """:param kinds: line types that are wanted; empty for all.

        :param spools: whether those are read, too; all their lines are given.
        """
        self._kinds = kinds
        found = sorted((folder / SPOOL_NAME).glob("*.jsonl")) if spools else []
        self._files = [folder / LOG_NAME, *found]

    def __iter__(self) -> Iterator[tuple[LogRecord, Place]]:
        """Every record without the numbers of its rounds, which are most of a log, and its place.

        :raises LogTamperedError: at the first line that is not what was written.
        :raises SchemaVersionError: if the log was written by a newer version.
        :raises StoreError: if a file or a line cannot be read.
        """
        log, *spools = self._files
        reader = LogReader(log, self._kinds, metrics=())
        for record in reader:
            yield record, Place(0, reader.begin, len(reader.raw), hash(reader.raw))
        for number, path in enumerate(spools, start=1):
            for record, begin, raw in records_of_spool(path):
                yield record, Place(number, begin, len(raw), hash(raw))

    def get(self, place: Place) -> LogRecord:
        """The whole record.

        :raises LogTamperedError: if it is not the one that was seen there.
        :raises StoreError: if it cannot be read.
        """
        path = self._files[place.file]
        try:
            with path.open("rb") as stream:
                stream.seek(place.begin)
                raw = stream.read(place.length)
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror or error}.") from error
        if hash(raw) != place.seen:
            raise LogTamperedError(f"{path}: it was changed after it had been read.")
        return record_of(raw, f"{path}: byte {place.begin}")
