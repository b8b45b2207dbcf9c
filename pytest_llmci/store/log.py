"""The result log: append-only JSON lines, chained by hashes. What everything else derives from.

:class:`LogWriter` writes it, :func:`read_log` streams it, :func:`verify_log` proves it, :func:`recover` closes the log
of a session that was killed. Test processes that share no memory with the writer keep a :class:`SpoolWriter` each,
whose lines are the same records without the chain.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TypeAlias

from ..clock import Clock, SystemClock, utc_text
from ..errors import LogTamperedError, StoreError
from ..records import (
    LOG_RECORDS,
    FooterRecord,
    HeaderRecord,
    LogRecord,
    RoundsRecord,
    from_json,
    json_view,
    log_record_type,
)
from .chain import GENESIS, ChainWalk, Damage, build_line
from .encoding import dump, dump_record, parse_record

try:
    import fcntl
except ImportError:  # not a POSIX system: a running session cannot be told from a killed one there
    fcntl = None  # type: ignore[assignment]  # checked before use

LOG_NAME: Final = "log.jsonl"
PARTIAL_NAME: Final = "log.jsonl.partial"
SPOOL_NAME: Final = "spool"

# ------------------------------------------------------------------------------------------------------------ writing

Protect: TypeAlias = "Callable[[LogRecord], LogRecord]"
ProtectStored: TypeAlias = "Callable[[LogRecord, bytes], LogRecord]"


def _as_it_is(record: LogRecord) -> LogRecord:
    return record


class _Tail(NamedTuple):
    """Where the next line goes; one value, so that an interrupt finds either all of it advanced or nothing."""

    size: int
    lines: int
    digest: str


class _LineFile:
    """A file to which whole lines are appended, each given to the operating system at once: a kill loses none."""

    def __init__(self, path: Path, tail: _Tail, flags: int) -> None:
        self.path = path
        self._tail = tail
        self._next = tail
        self._settled = True
        """False from the begin of a write until its end is noted."""
        self._fd = -1
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | flags, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened for writing: {_reason(error)}.") from error

    def _write(self, line: bytes, after: _Tail) -> None:
        """Append one line or nothing."""
        self._next = after
        self._settled = False
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._settle()
            kept = self._tail.lines
            raise StoreError(
                f"{self.path}: cannot write line {after.lines}: {_reason(error)}."
                f" {'The line before it is' if kept == 1 else f'The {kept} lines before it are'} kept."
            ) from error
        self._tail = after
        self._settled = True

    def _settle(self) -> None:
        """Make file and memory agree after a write that failed or was interrupted.

        :raises StoreError: if the file cannot be read or cut back.
        """
        if self._fd < 0:
            raise StoreError(f"{self.path}: the file is closed.")
        if self._settled:
            return
        try:
            size = os.fstat(self._fd).st_size
            if size == self._next.size:
                self._tail = self._next  # the interrupt came between writing the line and noting it
            elif size != self._tail.size:
                os.ftruncate(self._fd, self._tail.size)
            self._settled = True
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be cut back to its last whole line: {_reason(error)}.") from error

    def release(self) -> None:
        """Close the file as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class LogWriter(_LineFile):
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
        self._protect = protect or _as_it_is
        self._protect_stored = protect_stored
        self._start(path, clock, os.O_CREAT | os.O_EXCL)

    def _start(self, path: Path, clock: Clock | None, flags: int) -> None:
        super().__init__(path, _Tail(0, 0, GENESIS), flags)
        self.footer: FooterRecord | None = None
        """What :meth:`close` wrote."""
        self.exact = True
        """False once a line says something else than the record that was given, as where a number was not finite."""
        self._clock = clock or SystemClock()
        self._lock()

    def _lock(self) -> None:
        if _try_lock(self._fd, exclusive=True) is False:
            self.release()
            raise StoreError(f"{self.path}: another session is writing this log; wait until it has ended.")

    @property
    def lines(self) -> int:
        """Lines written."""
        return self._tail.lines

    @property
    def digest(self) -> str:
        """Of the last line."""
        return self._tail.digest

    def append(self, record: LogRecord, stored: bytes | None = None) -> LogRecord:
        """Write one record; the first one is the header.

        Numbers that are not finite are stored as missing, with a reason where the record has room for one.

        :param stored: what :meth:`SpoolWriter.append` wrote, where the record was read from that; it is written again as it is, unless
            something of it must not be.
        :returns: the record as it was written, without what must not be: whatever else is told of it is told of this one.
        :raises StoreError: if it cannot be written (disk full, ...); the log then ends with the line before, and the
            same record may be tried again.
        """
        self._settle()
        if (self._tail.lines == 0) != isinstance(record, HeaderRecord):
            raise StoreError(f"{self.path}: the header is the first line of a log and no other; got a {record.TYPE}.")
        number = self._tail.lines + 1
        written = self._protected(record, stored)
        body, exact = (stored, True) if stored is not None and written is record else _encode(written)
        self.exact = self.exact and exact
        line, digest = build_line(self._tail.digest, number, body)
        self._write(line, _Tail(self._tail.size + len(line), number, digest))
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
        self._settle()
        number = self._tail.lines + 1
        line, digest = build_line(self._tail.digest, number, body)
        self._write(line, _Tail(self._tail.size + len(line), number, digest))

    def close(self, exit_status: int | None = None) -> None:
        """Write the footer, hand the file to the disk and give up the lock; a second call does nothing.

        :param exit_status: of the session; None where it is not known.
        :raises StoreError: if the footer cannot be written.
        """
        self._close(exit_status, recovered=False)

    def _close(self, exit_status: int | None, *, recovered: bool) -> None:
        if self._fd < 0:
            return
        try:
            self._settle()
            if self._tail.lines > 0:  # a log without a header has nothing to close
                footer = self._footer(exit_status, recovered=recovered)
                self.append(footer)
                self.footer = footer
                _sync(self._fd, self.path)
        finally:
            self.release()

    def _footer(self, exit_status: int | None, *, recovered: bool) -> FooterRecord:
        return FooterRecord(
            lines=self._tail.lines,
            digest=self._tail.digest,
            finished=utc_text(self._clock.utc()),
            recovered=recovered,
            exit_status=exit_status,
        )


class SpoolWriter(_LineFile):
    """Appends records to a process's own file, so that :func:`recover` finds what never reached the log.

    :param path: made if it does not exist; an unfinished last line in it is dropped.
    :param protect: see :class:`LogWriter`.
    """

    def __init__(self, path: Path, *, protect: Protect | None = None) -> None:
        self._protect = protect or _as_it_is
        super().__init__(path, _Tail(0, 0, ""), os.O_CREAT)
        self._tail = self._next = _spool_tail(path)
        self._settled = False  # there may be the half of a line behind it

    def append(self, record: LogRecord) -> bytes:
        """Write one record.

        :returns: the record as it was written, one JSON object in ASCII.
        :raises StoreError: if it cannot be written; the file then ends with the record before.
        """
        self._settle()
        body = encode_record(self._protect(record))
        self._write(body + b"\n", _Tail(self._tail.size + len(body) + 1, self._tail.lines + 1, ""))
        return body


def _spool_tail(path: Path) -> _Tail:
    size = lines = 0
    with _open(path) as stream:
        for line in stream:
            if line.endswith(b"\n"):
                size, lines = size + len(line), lines + 1
    return _Tail(size, lines, "")


def encode_record(record: LogRecord) -> bytes:
    """A record as one JSON object in ASCII, as it stands in a spool, and without its digest and number in a log.

    :raises StoreError: if it holds what JSON cannot.
    """
    return _encode(record)[0]


def decode_record(body: bytes) -> LogRecord:
    """What :func:`encode_record` wrote.

    :raises StoreError: if it is no record that this version knows.
    """
    try:
        data = parse_record(body)
        kind = log_record_type(data)
    except (ValueError, AttributeError) as error:
        raise StoreError(f"no record: {error}") from None
    return from_json(kind, data)


def _encode(record: LogRecord) -> tuple[bytes, bool]:
    """The record as one JSON object in ASCII, and whether it reads back as the same record.

    Every text survives, lone surrogates included; but two halves of a character side by side read back as the character.
    """
    if isinstance(record, RoundsRecord) and (fault := _misshapen(record)):
        raise StoreError(f"rounds of {record.cell}: {fault}.")
    exact = True
    try:
        if (quick := dump_record(record)) is not None:
            return quick, True
        data = json_view(record)
        try:
            text = dump(data)
        except ValueError:
            exact, text = False, dump(_finite(data))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"a {record.TYPE} record holds what JSON cannot: {error}.") from error
    if "\\ud" in text:
        exact = exact and bool(json.loads(text) == data)
    return text.encode("ascii"), exact


def _misshapen(record: RoundsRecord) -> str:
    """Which list of a block does not run over its rounds or its outputs; empty if all do."""
    without = (record.provenance == "imported" or record.load) and not record.outputs  # of answers that nobody kept
    places = [] if without else [record.output_of_round]
    columns: list[Sized] = [*record.values.values(), *places, record.finish_reasons, record.noisy]
    if not {record.n}.issuperset(map(len, columns)):
        names = (*record.values, *(["output_of_round"] if places else []), "finish_reasons", "noisy")
        name, column = next(pair for pair in zip(names, columns, strict=True) if len(pair[1]) != record.n)
        return f"{name} holds {len(column)} entries for {record.n} rounds"
    outputs = len(record.outputs)
    if not (len(record.md5) == len(record.output_sha256) == outputs):
        return f"{len(record.md5)} md5 and {len(record.output_sha256)} sha256 for {outputs} outputs"
    for name in ("outputs_withheld", "output_token_ids"):
        if len(getattr(record, name)) not in (0, outputs):
            return f"{name} holds {len(getattr(record, name))} entries for {outputs} outputs"
    if record.output_of_round and not 0 <= min(record.output_of_round) <= max(record.output_of_round) < outputs:
        return f"output_of_round points outside the {outputs} outputs"
    return ""


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """The record's data with numbers that are not finite turned into missing ones."""
    data = dict(data)
    if isinstance(data.get("reasons"), dict):
        data["values"], data["reasons"] = _finite_values(data["values"], data["reasons"])
    return {key: _without_infinite(value) for key, value in data.items()}


def _finite_values(values: dict[str, Any], reasons: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    kept: dict[str, Any] = {}
    reasons = dict(reasons)
    for metric, value in values.items():
        column = value if isinstance(value, list) else [value]
        finite = [None if _is_infinite(number) else number for number in column]
        if finite != column:
            reasons.setdefault(metric, "the measured number was not finite")
        if isinstance(value, list):
            kept[metric] = finite
        elif finite != [None]:
            kept[metric] = value
    return kept, reasons


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _without_infinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_infinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_infinite(item) for item in value if not _is_infinite(item)]
    return None if _is_infinite(value) else value


def _sync(fd: int, path: Path) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise StoreError(f"{path}: the disk did not take it: {_reason(error)}.") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _try_lock(fd: int, *, exclusive: bool) -> bool | None:
    """True if the lock was got, False if another process has it, None where locks do not work."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # file systems without locks, such as some network mounts
        return None
    return True


def is_live(path: Path) -> bool | None:
    """True while a session writes the log, False if none does, None where the system cannot tell."""
    with _open(path) as stream:
        got = _try_lock(stream.fileno(), exclusive=False)
    return None if got is None else not got


# ------------------------------------------------------------------------------------------------------------ reading


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=1 << 18)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {_reason(error)}.") from error


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
        with _open(self.path) as stream:
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
        return _record(kind, data, f"{self.path}: line {self.lines}")


def record_of(raw: bytes, where: str) -> LogRecord:
    """The record of a line, of a log or of a spool, whose chain is nobody's question.

    :param where: for messages.
    :raises StoreError: if it is none.
    """
    try:
        data = json.loads(raw)
        kind = data["type"]
        LOG_RECORDS[kind]
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{where}: is no record: {type(error).__name__}: {error}") from error
    return _record(kind, data, where)


def _record(kind: str, data: dict[str, Any], where: str) -> LogRecord:
    try:
        record = from_json(LOG_RECORDS[kind], data)
    except StoreError as error:
        raise StoreError(f"{where}: {error}") from error
    if isinstance(record, RoundsRecord) and (fault := _misshapen(record)):
        raise StoreError(f"{where}: {fault}.")
    return record


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What :func:`verify_log` found."""

    path: Path
    state: Literal["complete", "recovered", "running", "killed", "damaged"]
    """``complete``: every line holds and the footer is there; ``recovered``: so too, but the session was killed and the
    log closed later; ``running``: a session still writes it; ``killed``: no footer; ``damaged``: see ``damage``."""
    lines: int
    """Lines that hold, from the first."""
    digest: str
    """Digest of the last of them."""
    damage: Damage | None = None
    """The first line that was changed, removed, inserted, moved, cut off or added."""

    @property
    def ok(self) -> bool:
        """True if the log is whole."""
        return self.state in ("complete", "recovered")

    @property
    def message(self) -> str:
        """The finding in one line."""
        if self.damage is not None:
            return f"{self.path}: {self.damage.message}"
        text = {
            "complete": "whole, with footer",
            "recovered": "whole; its session was killed, and what it had written was recovered later",
            "running": "no footer yet: its session is still running",
            "killed": "no footer: its session was killed or the end was cut off; llmci report closes the log",
        }[self.state]
        return f"{self.path}: {_lines(self.lines)}, {text} (digest {self.digest[:16]})"


def verify_log(path: Path) -> Verification:
    """Check every byte of a log. Memory: one line.

    Finds any change by somebody who cannot recompute the chain; who recomputes it changes the final digest.

    :raises SchemaVersionError: if the log was written by a newer version.
    :raises StoreError: if the file cannot be read.
    """
    with _open(path) as stream:
        walk = ChainWalk(stream, path)
        recovered = False
        for kind, rest in walk:
            recovered = kind == "footer" and bool(walk.decode(rest).get("recovered"))
    damage = walk.damage
    state: Literal["complete", "recovered", "running", "killed", "damaged"]
    if not walk.finished and (damage is None or walk.partial) and is_live(path):
        state, damage = "running", None
    elif damage is not None:
        state = "damaged"
    elif walk.finished:
        state = "recovered" if recovered else "complete"
    else:
        state = "killed"
    return Verification(path=path, state=state, lines=walk.lines, digest=walk.digest, damage=damage)


def read_spool(path: Path, but: Collection[str] = ()) -> Iterator[LogRecord]:
    """The records of a spool file, up to its last whole line.

    :param but: uids of records that are not wanted: they are there already, and need not be built again.
    :raises StoreError: if the file or one of its lines cannot be read.
    """
    for found in _spool_lines(path, but):
        if isinstance(found, StoreError):
            raise found
        yield found


def records_of_spool(path: Path) -> Iterator[tuple[LogRecord, int, bytes]]:
    """The same, each with the offset of its line and the line.

    :raises StoreError: if the file or one of its lines cannot be read.
    """
    begin = 0
    with _open(path) as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.endswith(b"\n"):
                found = _spool_record(path, number, raw)
                if isinstance(found, StoreError):
                    raise found
                yield found, begin, raw
            begin += len(raw)


def _spool_lines(path: Path, but: Collection[str] = ()) -> Iterator[LogRecord | StoreError]:
    with _open(path) as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.endswith(b"\n") and not (but and _has_uid_of(raw, but)):
                yield _spool_record(path, number, raw)


def _has_uid_of(raw: bytes, uids: Collection[str]) -> bool:
    match = _UID.search(raw, 0, _UID_WITHIN)
    return match is not None and match[1].decode("ascii", "replace") in uids


def _spool_record(path: Path, number: int, raw: bytes) -> LogRecord | StoreError:
    try:
        data = json.loads(raw)
        return from_json(LOG_RECORDS[data["type"]], data)
    except (ValueError, TypeError, KeyError, StoreError) as error:
        return StoreError(f"{path}: line {number} is no record: {type(error).__name__}: {error}")


# ----------------------------------------------------------------------------------------------------------- recovery


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """What :func:`recover` did."""

    done: bool
    """False if the log had its footer already."""
    lines: int
    """Lines of the log, without the footer."""
    from_spool: int = 0
    """Of these, records that were found in the spool of a test process only."""
    unreadable: int = 0
    """Lines of the spool that hold no record."""
    partial: Path | None = None
    """Where the bytes of an unfinished last line were kept."""

    @property
    def message(self) -> str:
        """What was done, in one line."""
        if not self.done:
            return f"{_lines(self.lines)}, whole: nothing to recover"
        extra = [f"{self.from_spool} of them from the spool"] if self.from_spool else []
        extra += [f"an unfinished line kept in {self.partial.name}"] if self.partial else []
        extra += [f"{_lines(self.unreadable, 'unreadable ')} of the spool left out"] if self.unreadable else []
        return f"the session was killed: recovered {_lines(self.lines)}" + "".join(f", {text}" for text in extra)


def recover(run_folder: Path, *, clock: Clock | None = None) -> Recovery:
    """Close the log of a session that was killed; do nothing to one that is closed.

    The bytes of an unfinished last line go to ``log.jsonl.partial``, records that only the spool of a test process has
    are appended, and the footer says that the log was recovered. Safe to repeat, also after it was itself killed.
    Memory: the ``uid`` of every record, and only if there is a spool.

    :raises LogTamperedError: if a line is not what was written.
    :raises StoreError: if the log is missing, in use, empty or cannot be written.
    """
    path = run_folder / LOG_NAME
    walk, _ = _scan(path, want_uids=False)
    if walk.finished and walk.damage is None:
        return Recovery(done=False, lines=walk.lines - 1)
    writer = _RecoveryWriter(path, clock=clock)
    try:
        return _recover_into(writer, run_folder)
    finally:
        writer.release()


class _RecoveryWriter(LogWriter):
    """Goes on with a log that has lines already."""

    def __init__(self, path: Path, *, clock: Clock | None) -> None:
        self._protect = _as_it_is  # what the spool holds was protected when it was written there
        self._start(path, clock, 0)

    def go_on(self, walk: ChainWalk) -> None:
        """Continue behind the last line that holds, and drop what follows it."""
        self._tail = self._next = _Tail(walk.end, walk.lines, walk.digest)
        self._settled = False
        self._settle()

    def close(self, exit_status: int | None = None) -> None:
        self._close(exit_status, recovered=True)


def _recover_into(writer: _RecoveryWriter, run_folder: Path) -> Recovery:
    spools = sorted((run_folder / SPOOL_NAME).glob("*.jsonl"))
    walk, uids = _scan(writer.path, want_uids=bool(spools))
    if walk.damage is not None and not walk.partial:
        raise LogTamperedError(f"{writer.path}: {walk.damage.message}; a log that was changed is not recovered.")
    if walk.finished:
        return Recovery(done=False, lines=walk.lines - 1)  # its session ended while this one looked
    if walk.lines == 0:
        raise StoreError(f"{writer.path} holds no whole line: nothing to recover; delete {run_folder}.")
    partial = _keep_partial(run_folder, walk.partial) if walk.partial else None
    writer.go_on(walk)
    moved = unreadable = 0
    for found in (found for spool in spools for found in _spool_lines(spool)):
        if isinstance(found, StoreError):
            unreadable += 1
        elif (uid := getattr(found, "uid", "")) and uid not in uids:
            uids.add(uid)
            writer.append(found)
            moved += 1
    lines = writer.lines
    writer.close()
    return Recovery(done=True, lines=lines, from_spool=moved, unreadable=unreadable, partial=partial)


_UID: Final = re.compile(rb'"uid":"([^"\\]*)"')
_UID_WITHIN: Final = 200  # bytes: it follows number and type; parsing a million lines for it would take minutes


def _scan(path: Path, *, want_uids: bool) -> tuple[ChainWalk, set[str]]:
    uids: set[str] = set()
    with _open(path) as stream:
        walk = ChainWalk(stream, path)
        for _, rest in walk:
            if want_uids:
                match = _UID.search(rest, 0, _UID_WITHIN)
                uids.add(match[1].decode("ascii") if match else str(walk.decode(rest).get("uid", "")))
    return walk, uids


def _keep_partial(run_folder: Path, content: bytes) -> Path:
    """Write the bytes of an unfinished line beside the log, never over those of an earlier one."""
    path, number = run_folder / PARTIAL_NAME, 1
    try:
        while path.exists() and path.read_bytes() != content:
            number += 1
            path = run_folder / f"{PARTIAL_NAME}-{number}"
        path.write_bytes(content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {_reason(error)}.") from error
    return path


def _lines(number: int, kind: str = "") -> str:
    return f"{number} {kind}line{'' if number == 1 else 's'}"
