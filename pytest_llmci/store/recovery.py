"""Closes the log of a session that was killed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..clock import Clock
from ..errors import LogTamperedError, StoreError
from .chain import ChainWalk
from .line_file import open_lines, reason_of
from .log import LOG_NAME, ContinuedLog
from .record_bytes import uid_of
from .spool import SPOOL_NAME, spool_lines

PARTIAL_NAME: Final = "log.jsonl.partial"
"""Where the bytes of an unfinished last line are kept."""


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
    writer = ContinuedLog(path, clock=clock)
    try:
        return _recover_into(writer, run_folder)
    finally:
        writer.release()


def _recover_into(writer: ContinuedLog, run_folder: Path) -> Recovery:
    spools = sorted((run_folder / SPOOL_NAME).glob("*.jsonl"))
    walk, uids = _scan(writer.path, want_uids=bool(spools))
    if walk.damage is not None and not walk.partial:
        raise LogTamperedError(f"{writer.path}: {walk.damage.message}; a log that was changed is not recovered.")
    if walk.finished:
        return Recovery(done=False, lines=walk.lines - 1)  # its session ended while this one looked
    if walk.lines == 0:
        raise StoreError(f"{writer.path} holds no whole line: nothing to recover; delete {run_folder}.")
    partial = _keep_partial(run_folder, walk.partial) if walk.partial else None
    writer.go_on_behind(walk)
    moved = unreadable = 0
    for found in (found for spool in spools for found in spool_lines(spool)):
        if isinstance(found, StoreError):
            unreadable += 1
        elif (uid := getattr(found, "uid", "")) and uid not in uids:
            uids.add(uid)
            writer.append(found)
            moved += 1
    lines = writer.lines
    writer.close()
    return Recovery(done=True, lines=lines, from_spool=moved, unreadable=unreadable, partial=partial)


def _scan(path: Path, *, want_uids: bool) -> tuple[ChainWalk, set[str]]:
    uids: set[str] = set()
    with open_lines(path) as stream:
        walk = ChainWalk(stream, path)
        for _, rest in walk:
            if want_uids:
                uids.add(uid_of(rest) or str(walk.decode(rest).get("uid", "")))
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
        raise StoreError(f"{path}: cannot be written: {reason_of(error)}.") from error
    return path


def _lines(number: int, kind: str = "") -> str:
    return f"{number} {kind}line{'' if number == 1 else 's'}"
