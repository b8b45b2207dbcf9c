"""Whether a log is what was written, and whether its session ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .chain import ChainWalk, Damage
from .line_file import open_lines
from .log import is_live


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
        return f"{self.path}: {self.lines} line{'' if self.lines == 1 else 's'}, {text} (digest {self.digest[:16]})"


def verify_log(path: Path) -> Verification:
    """Check every byte of a log. Memory: one line.

    Finds any change by somebody who cannot recompute the chain; who recomputes it changes the final digest.

    :raises SchemaVersionError: if the log was written by a newer version.
    :raises StoreError: if the file cannot be read.
    """
    with open_lines(path) as stream:
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
