"""Where relative paths of a session start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """What relative paths start from."""

    command: Path
    """Where the command was given: for what stands on the command line."""
    settings: Path
    """Folder of the settings file: for all else."""

    def of(self, origin: str) -> Path:
        """The folder for a path with that origin."""
        return self.command if origin.startswith("--") else self.settings
