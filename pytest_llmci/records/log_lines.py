"""The lines of a log. History of ``SCHEMA_VERSION``:

1   first version
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from ..errors import StoreError
from ..metrics import MetricDef
from ..quick_records import quickly_made
from .answered import ContinuationScore, ErrorInfo, LoadRun, Price, PublishedScore
from .asked import GenerationSettings, Message, ModelSpec
from .json_data import Json
from .verdicts import BudgetResult, CheckResult, ComparisonResult, SampleResult, SlowdownResult, Verdict

SCHEMA_VERSION = 1


Withheld: TypeAlias = Literal["", "redacted", "masked"]
"""Why a stored text is not the original, so that its hash cannot be checked: not at all; ``redacted``: ``sha256:<its hash>`` stands
in its place, as ``--llmci-redact`` asks; ``masked``: secrets in it were replaced."""
Role: TypeAlias = Literal["timing", "memory", "reference", "judge"]
"""What a model's process is for: measured rounds and all else; the memory pass, whose allocator hands memory back at once;
the rounds of what the model is compared with; or opinions on other models' outputs."""


Provenance: TypeAlias = Literal["live", "imported", "replayed", "resumed"]
"""Where numbers come from: measured by the session, read from the results of another tool, taken from an earlier run to be judged
again, or taken over from one that the session goes on with (``--llmci-resume``)."""


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """One start of a model's process (log line type ``worker``)."""

    TYPE: ClassVar[str] = "worker"

    uid: str
    model: str
    """Alias."""
    spec: ModelSpec
    started: str
    """UTC, ISO 8601."""
    pid: int
    isolation: Literal["worker", "inline"]
    role: Role = "timing"
    pair: int | None = None
    """Which fresh pair of processes it belongs to, from 0; None where nothing is compared."""
    python: str = ""
    values: dict[str, float] = field(default_factory=dict)
    """Metrics of scope ``worker`` as stored: load times, footprint."""
    reasons: dict[str, str] = field(default_factory=dict)
    info: dict[str, Json] = field(default_factory=dict)
    """What the backend says of the model: revision, dtype, quantization, parameters, file hashes, versions, threads."""
    log: str = ""
    """File with what the process wrote to stdout and stderr, relative to the run folder."""
    error: ErrorInfo | None = None
    published: PublishedScore | None = None
    """Joined from ``--llmci-scores``; None where that names no such model."""
    price: Price | None = None
    """What the model costs; None where no price was chosen."""
    provenance: Provenance = "live"
    resumed_from: str = ""
    """Run that it was taken over from, with blocks that it measured; empty where this session started it."""


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class RoundsRecord:
    """One block of rounds of one cell, columnar (log line type ``rounds``). Lists run over the rounds."""

    TYPE: ClassVar[str] = "rounds"

    uid: str
    cell: str
    model: str
    prompt_id: str
    prompt: str
    """What people see of the prompt: :attr:`Prompt.shown`."""
    prompt_sha256: str
    test: str
    """Node id of the test that asked."""
    origin: Literal["measured", "memory", "call", "reference", "sample"]
    """``measured``: rounds under the schedule; ``sample``: one output beyond them, with a seed of its own (``generation.seed``), for
    a rate of passing checks, and not gated on time; ``reference``: rounds of what the cell is compared with; ``memory``: rounds of
    the memory pass, of which nothing is kept but memory and outputs; ``call``: a single ``llm.generate()`` in a test body, never
    gated on time, or another request of a test body that the model's process died of (no rounds; ``prompt`` says what was asked)."""
    worker: str
    """``uid`` of the worker record."""
    block: int
    first_round: int
    started: str
    generation: GenerationSettings
    n: int
    """Finished rounds in this block."""
    values: dict[str, list[float | None]]
    reasons: dict[str, str]
    """Metric -> why it is missing, where it is missing in any round."""
    token_ns: list[list[int]]
    outputs: list[str]
    """Distinct outputs; with ``output_of_round``, ``md5`` and ``output_sha256`` empty where the tool that measured kept none."""
    output_of_round: list[int]
    """Index into ``outputs``, ``md5`` and ``output_sha256``."""
    md5: list[str]
    """Of model, prompt and output, joined without separators (UTF-8)."""
    output_sha256: list[str]
    """Of the output alone (UTF-8)."""
    finish_reasons: list[str]
    noisy: list[str]
    """Why the round counts as noisy; empty if it does not."""
    special_only: bool = False
    token_source: str = ""
    templated: bool = False
    """True where the prompt went through the model's chat template."""
    memory_method: str = ""
    peak_rss_resolution_bytes: int | None = None
    memory_isolated: bool = True
    contended: bool = False
    """True where other timed work may have run at the same time."""
    error: ErrorInfo | None = None
    """Set where the block ended early; its finished rounds are kept and used in no statistic."""
    worker_values: dict[str, float] = field(default_factory=dict)
    """Metrics of scope ``worker`` that became known in this block, as stored: they belong to the process's record."""
    attempt: int = 0
    """Of the test that asked: 0 for its first run, 1 for its first rerun; only the last attempt's blocks count."""
    pair: int | None = None
    """Which fresh pair of processes measured it, from 0; None where nothing is compared."""
    repeats: int = 1
    """Rounds in a row that make one sample of a comparison: answers too short to be timed alone are taken together."""
    anchor: str = ""
    """The frozen model that its process held and timed beside rounds (``--llmci-anchor``), with the library that its time depends
    on; empty where there was none."""
    provenance: Provenance = "live"
    messages: list[Message] = field(default_factory=list)
    """The chat messages that the prompt was; empty where it was a text, or is withheld."""
    output_token_ids: list[list[int]] = field(default_factory=list)
    """Of each output its tokens as the model source numbers them; empty where it tells none, or the output is withheld."""
    warmup_failed: list[str] = field(default_factory=list)
    """Attempts at its warm-ups that failed and were made again, each with its reason."""
    prompt_withheld: Withheld = ""
    """Why ``prompt`` is not what was asked. ``prompt_sha256`` and ``md5`` are those of the original."""
    outputs_withheld: list[Withheld] = field(default_factory=list)
    """Of each output, why it is not what the model answered; empty where all are. Their hashes are those of the original."""
    variables: dict[str, str] = field(default_factory=dict)
    """What was put into the placeholders of the prompt's template; empty where there was none, or it is withheld."""
    load: str = ""
    """The scenario, where each round is a run of many requests; it has no output, and its requests stand in ``load`` lines."""
    resumed_from: str = ""
    """Run that measured it (``--llmci-resume``); empty where this session did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadRecord:
    """One run of a load scenario (log line type ``load``)."""

    TYPE: ClassVar[str] = "load"

    uid: str
    block: str
    """``uid`` of the record of the block that its round belongs to."""
    round: int
    """Number of the round within the cell."""
    cell: str
    model: str
    test: str
    attempt: int
    origin: Literal["measured", "memory", "call", "reference", "sample"]
    scenario: str
    run: LoadRun


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFacts:
    """What a benchmark task asks in one test."""

    suite: str
    """The benchmark, as ``--llmci-suite`` names it."""
    name: str
    """The same with the subject, where each subject has a test: ``mmlu_anatomy``."""
    title: str
    subject: str
    version: str
    """Of the task in lm-evaluation-harness; empty for questions of one's own."""
    kind: Literal["choice", "generation"]
    metrics: list[str]
    main: str
    """The metric that is the score."""
    shots: int
    """Examples in the prompt."""
    questions: int
    """That are asked."""
    rows: int
    """Of the file."""
    size: int | None
    """Questions of the whole benchmark, or of its subject; None where nobody knows."""
    whole: bool
    """Whether the result may be called the score of the benchmark: all of its questions, asked as the harness asks them."""
    label: str
    """How many of how many, and what else sets the result apart from the benchmark's score."""
    source: str
    """The file's name, or the address on the hub."""
    source_sha256: str
    """Of the file; empty for the hub."""
    questions_sha256: str
    """Of all questions and their answers, in their order."""
    prompt_sha256: str
    """Of all that the model is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionsRecord:
    """One batch of answered questions of one task, columnar (log line type ``questions``). Lists run over the questions."""

    TYPE: ClassVar[str] = "questions"

    uid: str
    cell: str
    """``<alias>-<task>``."""
    model: str
    test: str
    """Node id."""
    worker: str
    """``uid`` of the worker record."""
    started: str
    task: TaskFacts
    origin: Literal["measured", "replay", "reference", "reference replay"]
    """``measured``: the answers that count; ``reference``: those of what the model is compared with; ``replay``: asked a second
    time, to see whether equal questions get equal numbers."""
    n: int
    index: list[int]
    """Place of each question in its file, from 0."""
    doc_sha256: list[str]
    """Of each question and its answer."""
    gold: list[list[int]]
    """Places of the right choices, from 0; empty where the answer is generated."""
    prediction: list[int]
    """Place of the choice with the highest log-probability; -1 where the answer is generated."""
    logprobs: list[list[float]]
    """Natural log-probability of each choice; empty where the answer is generated."""
    outputs: list[str]
    """What was generated; empty for questions with choices."""
    truncated: list[int]
    """Tokens cut from the beginning of the prompt, as it was longer than the model's context."""
    values: dict[str, list[float]]
    """Metric of the task -> what each question adds to it, 0 to 1."""
    attempt: int = 0
    """Of the test: 0 for its first run, 1 for its first rerun; only the last attempt counts."""
    resumed_from: str = ""
    """Run that these answers were taken from (``--llmci-resume``); empty where this session asked."""
    outputs_withheld: Withheld = ""
    """Why ``outputs`` are not what was generated."""
    provenance: Provenance = "live"
    """``replayed``: answers of an earlier run, judged again (``--llmci-replay``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswersRecord:
    """One batch of answers that are not counted yet (log line type ``answers``): of a task whose own program counts when it has all.

    They count in no result; ``--llmci-resume`` takes them over.
    """

    TYPE: ClassVar[str] = "answers"

    uid: str
    cell: str
    """``<alias>-<task>``."""
    model: str
    test: str
    """Node id."""
    worker: str
    """``uid`` of the worker record."""
    started: str
    task: str
    questions: int
    """Of the task, in all batches."""
    n: int
    index: list[int]
    """Place of each question in its file, from 0."""
    prompt_sha256: list[str]
    """Of all that each question asks, and how it is answered."""
    scores: list[list[ContinuationScore]]
    """Of each continuation of each question; empty where the answers are generated."""
    outputs: list[list[str]]
    """What was generated for each question; empty where there are scores."""
    attempt: int = 0
    resumed_from: str = ""
    """Run that these answers were taken from (``--llmci-resume``); empty where this session asked."""
    outputs_withheld: Withheld = ""
    """Why ``outputs`` are not what was generated."""


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictRecord:
    """What was decided on one cell in one test (log line type ``verdict``)."""

    TYPE: ClassVar[str] = "verdict"

    uid: str
    cell: str
    model: str
    prompt_id: str
    test: str
    verdict: Verdict
    checks: list[CheckResult] = field(default_factory=list)
    budgets: list[BudgetResult] = field(default_factory=list)
    comparisons: list[ComparisonResult] = field(default_factory=list)
    error: ErrorInfo | None = None
    noisy_rounds: int = 0
    rounds: int = 0
    attempt: int = 0
    """0 for the first run of the test, 1 for its first rerun, and so on; the last attempt counts."""
    samples: SampleResult | None = None
    """Of a cell whose checks are judged on sampled outputs; None where they are judged on its rounds."""
    provenance: Provenance = "live"
    """``replayed``: judged again on what another run measured."""
    task: str = ""
    """The benchmark task that the test asked; empty for a cell that is measured in rounds."""
    resumed_from: str = ""
    """Run whose rounds were judged (``--llmci-resume``); empty where this session measured."""
    not_resumed: str = ""
    """Why what an earlier run holds of it was not taken over, and it was measured anew; empty where that holds nothing."""
    slowdown: SlowdownResult | None = None
    """Where a time that became worse lies; None where none did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateRecord:
    """A verdict over a whole model or session (log line type ``gate``)."""

    TYPE: ClassVar[str] = "gate"

    uid: str = ""
    """Of a gate that a parallel worker may report twice; empty for those of the controller."""
    name: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str
    reasons: list[str] = field(default_factory=list)
    """What the message joins, each by itself; empty where it is one."""
    model: str = ""
    """Alias of the model that it is about; empty for the session."""
    comparisons: list[ComparisonResult] = field(default_factory=list)
    """Of the whole model."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of the gate over coverage: how many inferences, questions, profiles and other requests there were, as far as any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkRecord:
    """What another tool measured in a test that asked models something (log line type ``benchmark``).

    Its clock is in pytest's process: a round holds the way to the model's process and back, the instruments and the recording, and
    is nobody's ``latency``. It is in no statistic of a cell and is not gated.
    """

    TYPE: ClassVar[str] = "benchmark"

    uid: str
    test: str
    """Node id."""
    tool: str
    """Name and version, such as ``pytest-benchmark 5.3.1``."""
    cells: list[str]
    """Cells that the test asked with ``llm.generate()``, each once, in the order of asking."""
    models: list[str]
    """Aliases, likewise."""
    round_s: list[float] = field(default_factory=list)
    """Seconds of each round, divided by ``iterations``; empty where the tool gave none."""
    iterations: int = 1
    """Calls in a round."""
    group: str = ""
    reason: str = ""
    """Why there is no round; empty if there are."""
    attempt: int = 0
    """Of the test: 0 for its first run, 1 for its first rerun; the last attempt counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRecord:
    """Which part of a matrix a session measures, and who measures the rest (log line type ``shard``)."""

    TYPE: ClassVar[str] = "shard"

    uid: str
    index: int
    """Of this shard, from 1."""
    of: int
    plan: str
    """16 hex digits: equal where shards agree on what each of them does."""
    models: list[str]
    """Aliases of the whole matrix, in the order of their tests."""
    shards: list[int]
    """Which shard measures each of them."""
    cells: list[int]
    """Selected cells and benchmark tasks of each of them."""
    costs: list[float]
    """Predicted cost of each of them: seconds where ``costs_from`` names a run or file, else relative to each other."""
    costs_from: str = ""
    """Where earlier times were read; empty where the costs are estimated from sizes alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderRecord:
    """The first line of a log: all that is needed to read the rest (log line type ``header``)."""

    TYPE: ClassVar[str] = "header"

    schema_version: int
    run_id: str
    started: str
    version: str
    """Of pytest-llmci."""
    command: list[str]
    settings: dict[str, Json]
    environment: dict[str, Json]
    metrics: list[MetricDef]
    prices: list[Price] = field(default_factory=list)
    """What ``--llmci-prices`` named; empty where no price was chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FooterRecord:
    """The last line of a log (log line type ``footer``): what ends without one was cut."""

    TYPE: ClassVar[str] = "footer"

    lines: int
    """Lines before this one."""
    digest: str
    """sha256 of the line before this one, as that line holds it."""
    finished: str
    recovered: bool = False
    """True where the session was killed and the log was closed later."""
    exit_status: int | None = None


LogRecord: TypeAlias = (
    HeaderRecord
    | WorkerRecord
    | RoundsRecord
    | LoadRecord
    | QuestionsRecord
    | AnswersRecord
    | VerdictRecord
    | GateRecord
    | BenchmarkRecord
    | ShardRecord
    | FooterRecord
)
LOG_RECORDS: dict[str, type[LogRecord]] = {
    kind.TYPE: kind
    for kind in (
        HeaderRecord,
        WorkerRecord,
        RoundsRecord,
        LoadRecord,
        QuestionsRecord,
        AnswersRecord,
        VerdictRecord,
        GateRecord,
        BenchmarkRecord,
        ShardRecord,
        FooterRecord,
    )
}


def log_record_type(data: Mapping[str, Any]) -> type[LogRecord]:
    """The type of the record that a log line's data holds.

    :raises StoreError: if it is none that this version knows.
    """
    kind = LOG_RECORDS.get(str(data.get("type")))
    if kind is None:
        raise StoreError(f"unknown type of log line: {data.get('type')!r}")
    return kind
