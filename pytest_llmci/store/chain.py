"""The form of a log line, and what tells a whole log from a changed one.

A line is ``{"sha256":"<64 hex>",<rest>`` and a newline, where ``<rest>`` is ``"line":N,"type":"...",...}``. The digest
is sha256 over the 64 hex digits of the previous line (64 zeros before the first) and the raw bytes of ``<rest>``. So a
line vouches for all lines before it, the running number tells a removed line from a changed one, and a footer tells a
finished log from one that was cut off. Nobody needs this package to check it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from ..errors import SchemaVersionError, StoreError
from ..records import SCHEMA_VERSION

GENESIS: Final = "0" * 64
"""What the first line takes for the digest of the line before it."""
CUT_OFF: Final = "is cut off"
"""What is said of an unfinished last line, as a kill leaves it."""
LINE_BEGINS: Final = b'{"sha256":"'
"""Every line, and so every log."""
_REST: Final = len(LINE_BEGINS) + 64 + len(b'",')
_NUMBER: Final = re.compile(rb'"line":(\d{1,18}),')
_TYPE: Final = re.compile(rb'"type":"([a-z_]{1,40})"')
_CELL: Final = re.compile(rb'"cell":"([^"\\]{1,300})"')
_parse: Final = json.JSONDecoder().decode
_SEARCHED: Final = 4096  # bytes of a damaged line in which its type and cell are looked for


def seal(previous: str, rest: bytes) -> str:
    """The digest of a line as 64 hex digits.

    :param previous: the digest of the line before it.
    :param rest: the raw bytes that follow the digest, without the newline.
    """
    return sha256(previous.encode("ascii") + rest).hexdigest()


def build_line(previous: str, number: int, body: bytes) -> tuple[bytes, str]:
    """One whole line, and its digest.

    :param body: the record as a JSON object in ASCII, ``type`` first.
    """
    rest = b'"line":%d,' % number + body[1:]
    digest = seal(previous, rest)
    return b'%s%s",%s\n' % (LINE_BEGINS, digest.encode("ascii"), rest), digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """The first place at which a log is not what was written."""

    line: int
    """Number of the line, from 1."""
    type: str
    """Type of that line as far as it can be read; empty if it cannot."""
    cell: str
    """Cell of that line as far as it can be read; empty if it has none."""
    what: str
    """What happened to it, in one line."""

    @property
    def message(self) -> str:
        """Place and cause in one line."""
        subject = ", ".join(part for part in (self.type, self.cell) if part)
        return f"line {self.line}{f' ({subject})' if subject else ''} {self.what}"


class ChainWalk:
    """Goes through a log line by line and stops at the first one that does not belong there.

    Iterating gives the type and the raw rest of every line that holds. What it found stands in the attributes when the
    iteration has ended. Memory: one line.
    """

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self.lines = 0
        """Whole lines that hold."""
        self.digest = GENESIS
        """Digest of the last one."""
        self.end = 0
        """Offset in bytes behind it."""
        self.raw = b""
        """That line."""
        self.finished = False
        """True once the footer was seen."""
        self.partial = b""
        """Bytes behind the last newline, where no footer came before them."""
        self.damage: Damage | None = None
        """Why the walk ended early; None if every line holds."""

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for raw in self._stream:
            rest = raw[_REST:-1]
            digest = seal(self.digest, rest)
            if self.finished or not _is_whole(raw, digest):
                self.damage = self._diagnose(raw, next(self._stream, b""))
                return
            number = self.lines + 1
            head = b'"line":%d,"type":"' % number
            kind = rest[len(head) : rest.find(b'"', len(head))].decode("ascii", "replace")
            what = "has another number than its place" if not rest.startswith(head) else self._check(number, kind, rest)
            if what:
                self.damage = Damage(line=number, type=kind, cell=_found(_CELL, raw), what=what)
                return
            self.lines, self.digest, self.end, self.raw = number, digest, self.end + len(raw), raw
            self.finished = kind == "footer"
            yield kind, rest

    def _check(self, number: int, kind: str, rest: bytes) -> str:
        """What is wrong with a line whose digest is right; empty if nothing."""
        if (number == 1) != (kind == "header"):
            return "is not the header, which comes first" if number == 1 else "is a second header"
        if kind == "header":
            self._check_version(rest)
        if kind == "footer":
            footer = self.decode(rest)
            if (footer.get("lines"), footer.get("digest")) != (self.lines, self.digest):
                return "does not fit the lines before it"
        return ""

    def _check_version(self, rest: bytes) -> None:
        version = self.decode(rest).get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise SchemaVersionError(
                f"{self._path} was written by a newer pytest-llmci (log schema {version}, this one reads up to"
                f" {SCHEMA_VERSION}): pip install -U pytest-llmci"
            )

    def decode(self, rest: bytes) -> dict[str, Any]:
        """The JSON object of a line.

        :raises StoreError: if it is none.
        """
        try:
            data: dict[str, Any] = _parse("{" + rest.decode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise StoreError(f"{self._path}: line {self.lines + 1} is not JSON ({error}).") from None
        return data

    def _diagnose(self, raw: bytes, following: bytes) -> Damage:
        number = self.lines + 1
        claimed, next_claimed = _claimed(raw), _claimed(following)
        if self.finished:
            what = "was added behind the footer"
        elif not raw.endswith(b"\n"):
            what = self._diagnose_open_end(raw)
        elif next_claimed == number:
            what = "does not belong there: it was inserted or moved"
        elif claimed > number and next_claimed in (claimed + 1, 0) and not self._fits_renumbered(raw, number):
            more = f", as were the lines up to {claimed - 1}" if claimed > number + 1 else ""
            there = Damage(line=claimed, type=_found(_TYPE, raw), cell=_found(_CELL, raw), what="stands in its place")
            return Damage(line=number, type="", cell="", what=f"was removed{more}: {there.message}")
        else:
            what = "was changed"
        return Damage(line=number, type=_found(_TYPE, raw), cell=_found(_CELL, raw), what=what)

    def _diagnose_open_end(self, raw: bytes) -> str:
        if _is_whole(raw[:-1] + b"\n", seal(self.digest, raw[_REST:-1])):
            return "was changed: its line end"
        self.partial = raw
        return CUT_OFF

    def _fits_renumbered(self, raw: bytes, number: int) -> bool:
        """True if only the number of the line was changed."""
        rest = _NUMBER.sub(b'"line":%d,' % number, raw[_REST:-1], count=1)
        return _is_whole(raw[:_REST] + rest + b"\n", seal(self.digest, rest))


def _is_whole(raw: bytes, digest: str) -> bool:
    return raw.startswith(b'%s%s",' % (LINE_BEGINS, digest.encode("ascii"))) and raw.endswith(b"}\n")


def _claimed(raw: bytes) -> int:
    match = _NUMBER.match(raw, _REST)
    return int(match[1]) if match else 0


def _found(pattern: re.Pattern[bytes], raw: bytes) -> str:
    match = pattern.search(raw, 0, _SEARCHED)
    return match[1].decode("ascii", "replace") if match else ""
