"""What a session is asked to do: every option as a plain value, and its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from .slugs import slug

Inconclusive = Literal["fail", "warn", "pass"]
Isolation = Literal["worker", "inline"]
Timing = Literal["exclusive", "parallel"]
MemoryPass = Literal["auto", "exact", "off"]

SUITE_MAX_NEW_TOKENS = 50
"""Fixed length of an answer in the ``inference`` suite."""
TEST_MAX_NEW_TOKENS = 256
"""Upper length of an answer in users' own tests."""
SUITES: Mapping[str, str] = {
    "inference": "every model answers every prompt at a fixed length, timed",
    "load": "every model answers many requests as they come in service",
}
OUTPUT_FOLDER = "llmci-results"
"""Where run folders go."""
DEFAULT_SUITE_PROMPTS = "paper"
BASELINE_NAME = "main"
"""Of the baseline that is meant where none is named."""
BASELINES_FOLDER = "llmci-baselines"
MOST_SAMPLES = 10_000
"""More samples of a cell than that are a slip of the finger."""
MIN_PASS_RATE = 0.8
"""Share of a cell's samples that must pass, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Sourced:
    """A text and the place it was written in."""

    text: str
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Every option of a session."""

    models: tuple[Sourced, ...] = ()
    """Model specs as written, comma lists split."""
    prompts: tuple[Sourced, ...] = ()
    """Prompt sets or files as written."""
    suites: tuple[str, ...] = ()
    """Names, as node ids begin."""
    tasks: tuple[Sourced, ...] = ()
    """Those of the suites that are benchmark tasks or files of questions, as written."""
    task_data: Path | None = None
    """Folder that holds the files of benchmark tasks; None for none."""
    limit: int | None = None
    """Questions that each benchmark task asks at most; None for all."""
    shard: str = ""
    """Which part of the matrix is measured, such as ``2/8``; empty for all of it."""
    shard_costs: str = ""
    """Run or file that tells how long models take, by which shards are balanced; empty: the newest run that is whole."""
    resume: str = ""
    """Run whose answers to benchmark tasks are taken over; empty for none."""
    rounds: int = 5
    max_rounds: int = 20
    warmup: int = 1
    block: int = 5
    """Rounds that are added at a time to an undecided cell."""
    time_limit_s: float | None = None
    max_new_tokens: int | None = None
    """None: 50 in suites, 256 in users' own tests."""
    seed: int = 0
    temperature: float = 0.0
    threads: int = 1
    """CPU threads of a model's process; 0 leaves the framework's own choice."""
    samples: int = 0
    """Most sampled outputs a cell that its checks are judged on; 0: they are judged on its rounds."""
    min_pass_rate: float = MIN_PASS_RATE
    batch: int | None = None
    """Questions or prompts that a model works on at once where nothing is timed; None: 16 questions, and one prompt at a time."""
    max_latency: tuple[Sourced, ...] = ()
    max_memory: tuple[Sourced, ...] = ()
    budgets: tuple[Sourced, ...] = ()
    load: tuple[Sourced, ...] = ()
    """Scenarios of the suite ``load``, as written."""
    objective: tuple[Sourced, ...] = ()
    """What an answer under load must keep to be a good one, as written."""
    checks: tuple[Sourced, ...] = ()
    """Of every answer, besides those of its test or row."""
    versus: tuple[Sourced, ...] = ()
    """What models are compared with, as written."""
    versus_python: str = ""
    """Environment of a commit that is compared with: a path, ``auto``, or empty for today's."""
    detect: dict[str, float] = field(default_factory=dict)
    """Metric -> the smallest relative change that must be found; the empty name is for all times."""
    inconclusive: Inconclusive = "warn"
    isolation: Isolation = "worker"
    timeout_s: float = 300.0
    load_timeout_s: float = 1800.0
    memory_limit_bytes: int | None = None
    memory: MemoryPass = "auto"
    """Whether growth of memory is measured in a pass of its own; ``auto``: where a budget asks for it."""
    timing: Timing = "exclusive"
    anchor: bool = False
    """Whether a small frozen model is timed beside every round, so that stored times can be compared beside its own."""
    output: Path = Path(OUTPUT_FOLDER)
    save_baseline: str = ""
    """Baseline that the session is to become; empty for none."""
    update_baseline: str = ""
    """Baseline that the session is to be added to; empty for none."""
    baseline: tuple[Sourced, ...] = ()
    """Baselines to compare with: names, files or folders."""
    baselines: Path = Path(BASELINES_FOLDER)
    scores: tuple[Sourced, ...] = ()
    """Tables of published scores: files, or ``paper``."""
    prices: tuple[Sourced, ...] = ()
    """What models cost: names of the packaged table, or files."""
    sinks: tuple[str, ...] = ()
    mlflow: str = ""
    """The sink that logs to MLflow: ``mlflow``, ``mlflow:URI``, or empty for none."""
    mlflow_required: bool = False
    """Whether the session fails if that fails."""
    mlflow_experiment: str = ""
    """Empty: whatever MLflow's environment names, else the package's own."""
    redact: bool = False
    """Whether texts of prompts and outputs make way for their hashes, in everything that is written or shown."""
    plan: bool = False
    replay: str = ""
    """Run whose stored outputs and numbers are judged in place of measuring; empty for none."""
    origins: dict[str, str] = field(default_factory=dict)
    """Option name -> where its value was written, for those that were given."""

    @property
    def destinations(self) -> tuple[str, ...]:
        """Every sink that is asked for, that of MLflow included."""
        return tuple(dict.fromkeys([*self.sinks, *filter(None, [self.mlflow])]))


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Every option as JSON data, as the header of a log holds them."""
    plain: dict[str, Any] = {}
    for entry in fields(settings):
        value: Any = getattr(settings, entry.name)
        if isinstance(value, tuple):
            value = [str(getattr(item, "text", item)) for item in value]
        plain[entry.name] = str(value) if isinstance(value, Path) else value
    return plain


FILES_OF_QUESTIONS: Final = (".jsonl", ".json", ".yaml", ".yml")
"""Endings by which a suite is known to be a file of the user's own."""


def suite_name(text: str) -> str:
    """How the node ids of a suite begin: a name, or the stem of a file.

    >>> suite_name("mmlu:data/mmlu+shots=5"), suite_name("sets/My questions.jsonl")
    ('mmlu', 'My-questions')
    """
    head = text.partition("+")[0]
    name, colon, _ = head.partition(":")
    return slug(Path(head).stem) if not colon and head.lower().endswith(FILES_OF_QUESTIONS) else name
