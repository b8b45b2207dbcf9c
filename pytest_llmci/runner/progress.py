"""Where a model's process stands, readable after it was killed.

A small shared file holds phase, round and token. The process writes it with plain stores (a fraction of a microsecond, no
system call), so that the evidence of a death costs the measurement nothing; the parent reads it at any time.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass, field
from typing import Final

_STATE: Final = struct.Struct("=iiiiq")
TOKENS_AT: Final = 3
"""Place of the tokens among the integers of the page."""
PHASES: Final = (
    "starting", "importing", "loading", "idle", "warm-up", "measuring", "calling", "streaming", "scoring", "scoring many",
    "generating many", "under load",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Position:
    """Where the process stood when it was read."""

    phase: str
    block_round: int
    """Round within the block, from 0; in a batch the number of its first request; under load how many requests have ended."""
    beat: int
    """Grows with every round, warm-up included: the watchdog's clock restarts when it moves."""
    tokens: int
    """Tokens of the running inference that have arrived; in a batch how many requests it holds."""
    began_ns: int = field(default=0, compare=False)
    """When the beat came, by the clock that all processes of the machine share."""

    def describe(self, rounds: int) -> str:
        """In words: ``round 2 of 5, 11 tokens into the answer``."""
        answer = f"{self.tokens} token{'' if self.tokens == 1 else 's'} into the answer"
        if self.phase == "measuring":
            return f"round {self.block_round + 1} of {rounds}, {answer}"
        if self.phase == "warm-up":
            return f"warm-up, {answer}"
        if self.phase == "under load":
            return f"under load, after {self.block_round} request{'' if self.block_round == 1 else 's'} of the run"
        if self.phase == "streaming":
            return f"in llm.stream, {answer}"
        known = {"calling": "in llm.call", "scoring": "in llm.score", "idle": "between inferences"}
        return known.get(self.phase, f"while {self.phase}")


class ProgressPage:
    """The shared file; created by the parent, written by the child."""

    def __init__(self, path: str, *, create: bool = False) -> None:
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o600)
        try:
            if create:
                os.ftruncate(fd, mmap.PAGESIZE)
            self._page = mmap.mmap(fd, mmap.PAGESIZE)
        finally:
            os.close(fd)
        self._beat = 0
        self.integers = memoryview(self._page).cast("i")
        """The page as integers, for who counts tokens at :data:`TOKENS_AT`."""

    def enter(self, phase: str, block_round: int = 0) -> None:
        """Say that a phase or round begins."""
        self._beat += 1
        _STATE.pack_into(self._page, 0, PHASES.index(phase), block_round, self._beat, 0, time.perf_counter_ns())

    def tokens(self, count: int) -> None:
        """Say how many tokens have arrived."""
        self.integers[TOKENS_AT] = count

    def read(self) -> Position:
        """Where the process stands."""
        phase, block_round, beat, tokens, began_ns = _STATE.unpack_from(self._page, 0)
        name = PHASES[phase] if 0 <= phase < len(PHASES) else "starting"
        return Position(name, block_round, beat, tokens, began_ns)

    def close(self) -> None:
        """Let go of the mapping."""
        self.integers.release()
        self._page.close()
