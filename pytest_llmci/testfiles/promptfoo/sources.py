"""What a configuration of promptfoo names by ``file://``: YAML, JSON, JSON Lines, CSV and text, each value with its place."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ...errors import ConfigError
from ..nodes import Faults, Value, read_nodes
from .report import NotTranslated

PREFIX: Final = "file://"
CODE: Final = (".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".py", ".rb", ".sh")


class Sources:
    """Reads files beside the configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults = Faults()

    def paths(self, reference: str) -> list[Path]:
        """The files that a reference names; a pattern may name several.

        :raises NotTranslated: if there is none, or it is code.
        """
        name = reference.removeprefix(PREFIX)
        if name.split(":")[0].lower().endswith(CODE):
            raise NotTranslated(f"{reference}: it is code")
        if "://" in name:
            raise NotTranslated(f"{reference}: it is not a file here")
        base = self.folder / name
        if base.is_dir():
            return sorted(path for path in base.rglob("*") if path.suffix in (".yaml", ".yml", ".json"))
        found = [base] if base.is_file() else sorted(Path(match) for match in glob.glob(str(base), recursive=True))
        if not found:
            raise NotTranslated(f"{reference}: there is no such file")
        return [path for path in found if path.is_file()]

    def text(self, path: Path) -> str:
        """A file as text.

        :raises NotTranslated: if it cannot be read, or is none.
        """
        try:
            return path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise NotTranslated(f"{self.shown(path)}: it cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise NotTranslated(f"{self.shown(path)}: it is not UTF-8") from error

    def shown(self, path: Path) -> str:
        """Its name in places."""
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else str(path)

    def nodes(self, path: Path) -> Iterator[Value]:
        """The top of a YAML or JSON file; of each line of JSON Lines.

        :raises ConfigError: if it is not valid.
        """
        text = self.text(path)
        parts = [(text, 0)]
        if path.suffix == ".jsonl":
            parts = [(line, number) for number, line in enumerate(text.split("\n")) if line.strip()]
        for part, before in parts:
            top = read_nodes("\n" * before + part, self.shown(path), self.faults)
            if top is None:
                raise ConfigError(self.faults.lines()[0])
            yield top
