"""A file of another tool: opened once, told apart by its first bytes, and read as JSON, JSON lines or text."""

from __future__ import annotations

import csv
import hashlib
import json
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import ConfigError

MOST_BYTES: Final = 512 * 2**20
"""Of a document that has to be read whole: its objects take several times as much memory. JSON lines have no limit."""
_HEAD: Final = 1 << 20
_CHUNK: Final = 1 << 20


class Source:
    """One file.

    :raises ConfigError: if it is no file that can be read, is empty, or is no text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._only_line: Any = None
        """What the only line of the file holds, where it was parsed already."""
        self.size, self.md5, self.sha256 = self._identity()
        if not self.size:
            raise ConfigError(f"import: {path} is empty.")
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        self._refuse_binary(head)

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The file's name without folder and ending."""
        return self.path.stem

    def _identity(self) -> tuple[int, str, str]:
        try:
            mode = self.path.stat().st_mode
            if not stat.S_ISREG(mode):
                kind = "a folder" if stat.S_ISDIR(mode) else "no file"
                raise ConfigError(f"import: {self.path} is {kind}: name a file with results.")
            md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
            with self.path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    md5.update(chunk)
                    sha256.update(chunk)
                    size += len(chunk)
        except (OSError, ValueError) as error:
            raise ConfigError(f"import: {self.path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error  # fmt: skip
        return size, md5.hexdigest(), sha256.hexdigest()

    def _refuse_binary(self, head: bytes) -> None:
        if b"\0" in head:
            raise ConfigError(f"import: {self.path} is no text: give a tool's JSON or CSV file.")

    @cached_property
    def kind(self) -> Literal["json", "lines", "text"]:
        """``lines`` is JSON with one object a line; ``text`` is anything that is not JSON."""
        with self.path.open("rb") as stream:
            lines = (line for line in stream if line.strip())
            first = next(lines, b"").strip()
            if not first.removeprefix(b"\xef\xbb\xbf").startswith((b"{", b"[")):
                return "text"
            whole = _parsed(first) if len(first) <= MOST_BYTES else None
            if next(lines, b""):
                return "lines" if isinstance(whole, dict) else "json"
            self._only_line = whole
            return "json"

    @cached_property
    def document(self) -> Any:
        """The whole JSON document; None where the file is none.

        :raises ConfigError: if it is cut, malformed or too large.
        """
        return self._document() if self.kind == "json" else None

    def _document(self) -> Any:
        if self._only_line is not None:
            return self._only_line
        raw = self._read()
        try:
            return json.loads(raw)
        except UnicodeDecodeError as error:
            raise ConfigError(f"import: {self.path} is not UTF-8 text (byte {error.start}).") from error
        except json.JSONDecodeError as error:
            end = "; it seems to be cut off" if error.pos >= len(error.doc.rstrip()) - 1 else ""
            raise ConfigError(
                f"import: {self.path} is no whole JSON: {error.msg}, line {error.lineno}{end}."
            ) from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists in lists
            raise ConfigError(f"import: {self.path} cannot be read as JSON: {str(error)[:80]}.") from error

    def _read(self) -> bytes:
        if self.size > MOST_BYTES:
            raise ConfigError(
                f"import: {self.path} has {self.size:,} bytes; documents of up to {MOST_BYTES:,} can be read."
                " Let the tool write its summary alone, or JSON lines."
            )
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ConfigError(f"import: {self.path} cannot be read: {error.strerror or error}.") from error

    @cached_property
    def text(self) -> str:
        """The whole file as text.

        :raises ConfigError: if it is not UTF-8 or too large.
        """
        try:
            return self._read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(f"import: {self.path} is not UTF-8 text (byte {error.start}).") from error

    @cached_property
    def csv_header(self) -> list[str]:
        """The fields of the first line, as of a CSV file; never raises."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            line = stream.readline(_HEAD)
        try:
            return next(csv.reader([line]), [])
        except csv.Error:
            return []

    def csv_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Number and fields of each row behind the header; empty rows are left out.

        :raises ConfigError: if it is no CSV.
        """
        try:
            for place, row in enumerate(csv.reader(self.text.splitlines(keepends=True)), start=1):
                if place > 1 and row:
                    yield place, row
        except csv.Error as error:
            raise ConfigError(f"import: {self.path} is no whole CSV: {error}.") from error

    @cached_property
    def first(self) -> Any:
        """The first object of JSON lines, the first item of a JSON list, else the document; None for text.

        :raises ConfigError: as :attr:`document`.
        """
        if self.kind == "lines":
            return next(self.records())
        found = self.document
        return found[0] if isinstance(found, list) and found else found

    def records(self) -> Iterator[Any]:
        """The objects of JSON lines, one at a time; the items of a list; or the only document.

        :raises ConfigError: naming the line that cannot be read.
        """
        if self.kind != "lines":
            found = self.document
            yield from found if isinstance(found, list) else [found]
            return
        with self.path.open("rb") as stream:
            for place, line in enumerate(stream, start=1):
                if line.strip():
                    found = _parsed(line)
                    if found is None:
                        raise ConfigError(f"import: {self.path}: line {place} is no JSON object.")
                    yield found


def _parsed(line: bytes) -> Any:
    """The JSON of a line; None if it is none."""
    try:
        return json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return None
