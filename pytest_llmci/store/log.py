"""The result log: append-only JSON lines, chained by hashes. What everything else derives from.

:class:`LogWriter` writes it, :class:`LogReader` streams it; :mod:`.verify` proves it, :mod:`.recovery` closes the log of a session
that was killed. Test processes that share no memory with the writer keep a :class:`.spool.SpoolWriter` each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..clock import Clock, SystemClock, utc_text
from ..errors import LogTamperedError, StoreError
from ..records import LOG_RECORDS, FooterRecord, HeaderRecord, LogRecord, RoundsRecord
from .chain import GENESIS, ChainWalk, build_line
from .encoding import dump
from .line_file import LineFile, Tail, open_lines, try_lock
from .record_bytes import build_record, encode

LOG_NAME: Final = "log.jsonl"
"""Of the log in its run folder."""

Protect: TypeAlias = "Callable[[LogRecord], LogRecord]"
ProtectStored: TypeAlias = "Callable[[LogRecord, bytes], LogRecord]"


def as_it_is(record: LogRecord) -> LogRecord:
    """What protects a record in which nothing is to be hidden."""
    return record


class LogWriter(LineFile):
    """Writes a new log. While it is open no other writer gets it, where the system has file locks.

    Used from one thread. A line is on its way to the disk when :meth:`append` returns: what kills the process loses
    nothing; what kills the machine may cost the last seconds.

    :param path: a file that does not exist yet.
    :param protect: makes of each record what may be written: :meth:`.redaction.Redactor.record`.
    :param protect_stored: the same of one that a spool holds; by default it is treated like all others.
    :raises StoreError: if it cannot be made.
    """

    _protect_stored: ProtectStored | None = None

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        protect: Protect | None = None,
        protect_stored: ProtectStored | None = None,
    ) -> None:
        self._protect = protect or as_it_is
        self._protect_stored = protect_stored
        self._start(path, clock, os.O_CREAT | os.O_EXCL)

    def _start(self, path: Path, clock: Clock | None, flags: int) -> None:
        super().__init__(path, Tail(0, 0, GENESIS), flags)
        self.footer: FooterRecord | None = None
        """What :meth:`close` wrote."""
        self.exact = True
        """False once a line says something else than the record that was given, as where a number was not finite."""
        self._clock = clock or SystemClock()
        if self.lock() is False:
            self.release()
            raise StoreError(f"{self.path}: another session is writing this log; wait until it has ended.")

    @property
    def lines(self) -> int:
        """Lines written."""
        return self.tail.lines

    @property
    def digest(self) -> str:
        """Of the last line."""
        return self.tail.digest

    def append(self, record: LogRecord, stored: bytes | None = None) -> LogRecord:
        """Write one record; the first one is the header.

        Numbers that are not finite are stored as missing, with a reason where the record has room for one.

        :param stored: what :meth:`.spool.SpoolWriter.append` wrote, where the record was read from that; it is written again as it is,
            unless something of it must not be.
        :returns: the record as it was written, without what must not be: whatever else is told of it is told of this one.
        :raises StoreError: if it cannot be written (disk full, ...); the log then ends with the line before, and the
            same record may be tried again.
        """
        self.settle()
        if (self.tail.lines == 0) != isinstance(record, HeaderRecord):
            raise StoreError(f"{self.path}: the header is the first line of a log and no other; got a {record.TYPE}.")
        number = self.tail.lines + 1
        written = self._protected(record, stored)
        body, exact = (stored, True) if stored is not None and written is record else encode(written)
        self.exact = self.exact and exact
        line, digest = build_line(self.tail.digest, number, body)
        self.write_line(line, Tail(self.tail.size + len(line), number, digest))
        return written

    def _protected(self, record: LogRecord, stored: bytes | None) -> LogRecord:
        if stored is None or self._protect_stored is None:
            return self._protect(record)
        return self._protect_stored(record, stored)

    def append_stored(self, body: bytes) -> None:
        """Write a record that another log holds, as that log has it.

        :param body: one JSON object in ASCII, ``type`` first: a line without its digest and number.
        :raises StoreError: if it cannot be written.
        """
        self.settle()
        number = self.tail.lines + 1
        line, digest = build_line(self.tail.digest, number, body)
        self.write_line(line, Tail(self.tail.size + len(line), number, digest))

    def close(self, exit_status: int | None = None) -> None:
        """Write the footer, hand the file to the disk and give up the lock; a second call does nothing.

        :param exit_status: of the session; None where it is not known.
        :raises StoreError: if the footer cannot be written.
        """
        self._close(exit_status, recovered=False)

    def _close(self, exit_status: int | None, *, recovered: bool) -> None:
        if not self.is_open:
            return
        try:
            self.settle()
            if self.tail.lines > 0:  # a log without a header has nothing to close
                footer = self._footer(exit_status, recovered=recovered)
                self.append(footer)
                self.footer = footer
                self.sync()
        finally:
            self.release()

    def _footer(self, exit_status: int | None, *, recovered: bool) -> FooterRecord:
        return FooterRecord(
            lines=self.tail.lines,
            digest=self.tail.digest,
            finished=utc_text(self._clock.utc()),
            recovered=recovered,
            exit_status=exit_status,
        )


class ContinuedLog(LogWriter):
    """Goes on with a log that has lines already, so as to recover it.

    :raises StoreError: if it cannot be opened, or a session writes it.
    """

    def __init__(self, path: Path, *, clock: Clock | None) -> None:
        self._protect = as_it_is  # what the spool holds was protected when it was written there
        self._start(path, clock, 0)

    def go_on_behind(self, walk: ChainWalk) -> None:
        """Continue behind the last line that holds, and drop what follows it."""
        self.go_on(Tail(walk.end, walk.lines, walk.digest))
        self.settle()

    def close(self, exit_status: int | None = None) -> None:
        """:meth:`LogWriter.close` with a footer that says that the log was recovered."""
        self._close(exit_status, recovered=True)


def is_live(path: Path) -> bool | None:
    """True while a session writes the log, False if none does, None where the system cannot tell."""
    with open_lines(path) as stream:
        got = try_lock(stream.fileno(), exclusive=False)
    return None if got is None else not got


class LogReader:
    """Streams the records of a log and checks the chain on the way. Memory: one line.

    :param kinds: line types to build records of; empty for all. The others are still checked.
    :param metrics: of blocks of rounds give only these, and no token times: all else is most of a log and of the time to
        read it. None stands for everything. What is left out is still under the chain's digest.
    """

    def __init__(self, path: Path, kinds: Collection[str] = (), *, metrics: Collection[str] | None = None) -> None:
        self.path = path
        self.kinds = frozenset(kinds)
        self.metrics = None if metrics is None else frozenset(metrics)
        self._columns = frozenset(dump(name).encode("ascii") for name in metrics or ())
        self.lines = 0
        """Number of the line whose record was given last; when all were given, the number of lines."""
        self.begin = 0
        """Offset in bytes of that line."""
        self.raw = b""
        """The line."""
        self.digest = GENESIS
        """Digest of the last line, when all records were given."""
        self.finished = False
        """True if the footer was there, when all records were given."""

    def __iter__(self) -> Iterator[LogRecord]:
        """Every record, in order, up to the last whole line.

        :raises LogTamperedError: at the first line that is not what was written.
        :raises SchemaVersionError: if the log was written by a newer version.
        :raises StoreError: if the file cannot be read or holds no whole line.
        """
        wanted = self.kinds & LOG_RECORDS.keys() if self.kinds else LOG_RECORDS.keys()
        with open_lines(self.path) as stream:
            walk = ChainWalk(stream, self.path)
            for kind, rest in walk:
                if kind in wanted:
                    self.lines, self.raw = walk.lines, walk.raw
                    self.begin = walk.end - len(walk.raw)
                    yield self._build(kind, self._decode(walk, kind, rest))
            self.lines, self.digest, self.finished = walk.lines, walk.digest, walk.finished
            if walk.damage is not None and not walk.partial:
                raise LogTamperedError(f"{self.path}: {walk.damage.message}.")
            if walk.lines == 0:
                raise StoreError(f"{self.path} holds no whole line: it is no result log, or its session never began.")

    def _decode(self, walk: ChainWalk, kind: str, rest: bytes) -> dict[str, Any]:
        if self.metrics is None or kind != RoundsRecord.TYPE:
            return walk.decode(rest)
        data = walk.decode(_with_columns(_without_token_times(rest), self._columns))
        if isinstance(values := data.get("values"), dict):
            data["values"] = {name: values[name] for name in self.metrics & values.keys()}
        return data

    def _build(self, kind: str, data: dict[str, Any]) -> LogRecord:
        return build_record(kind, data, f"{self.path}: line {self.lines}")


_TOKEN_TIMES: Final = b',"token_ns":[['
"""Found as a field only: in a text the quotes have backslashes."""


def _without_token_times(rest: bytes) -> bytes:
    begin = rest.find(_TOKEN_TIMES)
    end = rest.find(b"]]", begin)
    return rest if begin < 0 or end < 0 else rest[: begin + len(_TOKEN_TIMES) - 1] + rest[end + 1 :]


_VALUES: Final = b',"values":{'
_COLUMN_NAME: Final = re.compile(rb'("[^"\\]+"):\[')


def _with_columns(rest: bytes, names: Collection[bytes]) -> bytes:
    """A block without the numbers of other metrics, which need not be parsed then; as it is where they look unfamiliar.

    :param names: in quotes.
    """
    begin = rest.find(_VALUES) + len(_VALUES)
    end = rest.find(b"]}", begin)
    if begin < len(_VALUES) or end < 0:
        return rest
    kept = []
    for column in rest[begin:end].split(b"],"):
        name = _COLUMN_NAME.match(column)
        if name is None:
            return rest
        if name[1] in names:
            kept.append(column + b"]")
    return rest[:begin] + b",".join(kept) + rest[end + 1 :]


def read_log(path: Path, kinds: Collection[str] = ()) -> Iterator[LogRecord]:
    """The records of a log in order, up to its last whole line, checked on the way; see :class:`LogReader`."""
    return iter(LogReader(path, kinds))
