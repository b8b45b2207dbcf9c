"""A model that answers, wherever it lives, and what all of a session's are started with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..backends.base import OnCompletion, OnScores
from ..measure.profile import Measured, SharedInstruments
from ..records import Completion, GenerationSettings, Prompt, RoundRecord, RunRequest, ScoreRequest
from ..registry import Registry
from .host import Loaded


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a model may take."""

    inference_s: float = 300.0
    load_s: float = 1800.0
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSetup:
    """What every model's process of a session is started with."""

    registry: Registry
    limits: Limits
    cache_dir: str
    log_folder: Path
    """Where ``<alias>-<n>.log`` goes; made when the first process starts."""
    threads: int = 1
    sys_path: Sequence[str] = field(default_factory=tuple)
    """pytest's import path, for users' modules: backends, callables, ``llm.call``. See :mod:`.import_path`."""
    start_in: str | None = None
    """Working directory of the process; pytest's own if None. ``+python=`` must be absolute where it is another one."""
    say: Callable[[str], None] = lambda text: None
    """One short line of progress for people."""
    tick: Callable[[], None] = lambda: None
    """Called some ten times a second while waiting, so that a terminal can show time passing."""
    hide: Callable[[str], str] = str
    """Makes of a line of a process's output what may be written."""
    anchor: bool = False
    """Whether a frozen model is timed beside measured rounds."""
    keeps_logs: bool = True
    """False: what processes write to stdout and stderr reaches no file, as it may quote prompts and outputs."""
    instruments: SharedInstruments = field(default_factory=SharedInstruments)
    """Of models that live in this process."""


class ModelWorker(Protocol):
    """A model that answers, wherever it lives."""

    pid: int
    log: str
    isolation: str

    def load(self) -> Loaded: ...

    def run(self, request: RunRequest, on_round: Callable[[RoundRecord], None]) -> None: ...

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion: ...

    def score(self, context: str, continuation: str) -> list[float]: ...

    def score_many(self, requests: Sequence[ScoreRequest], batch: int, on_scores: OnScores) -> None: ...

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, on_completion: OnCompletion
    ) -> None: ...  # fmt: skip

    def call(self, target: str, packed: list[object]) -> object:
        """:param packed: the arguments from :func:`.wire.pack_arguments`."""

    def profile_start(self) -> int: ...

    def profile_stop(self, number: int) -> Measured: ...

    def close(self) -> None: ...

    @property
    def alive(self) -> bool: ...
