"""All that is stored or crosses a process, as frozen records.

A record is plain data: :func:`to_json` and :func:`from_json` round-trip it. History of ``SCHEMA_VERSION``:

1   first version
"""

from __future__ import annotations

import dataclasses
import numbers
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar, Literal, NoReturn, TypeAlias, TypeVar

from .errors import MissingValue, StoreError
from .metrics import MetricDef
from .quick_records import quickly_made

SCHEMA_VERSION = 1

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

# ---------------------------------------------------------------------------------------------------- what is absent


@dataclass(frozen=True, slots=True, eq=False)
class Missing:
    """A number that could not be measured: falsy, and any use of it as a number fails the test with the reason.

    Two of them are equal if their reasons are.

    >>> bool(Missing("no streaming"))
    False
    """

    reason: str

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "n/a"

    def __format__(self, spec: str) -> str:
        return "n/a"

    def __eq__(self, other: object) -> bool:
        __tracebackhide__ = True
        if isinstance(other, numbers.Number):
            self._refuse()  # else 'p95 != 5' would pass for want of a p95
        return self.reason == other.reason if isinstance(other, Missing) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.reason)

    def _refuse(self, *_: object) -> NoReturn:
        __tracebackhide__ = True  # in a failing test, pytest shows the test's own lines
        raise MissingValue(self.reason)

    __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _refuse
    __divmod__ = __rdivmod__ = _refuse
    __neg__ = __pos__ = __abs__ = __float__ = __int__ = __round__ = _refuse


Number: TypeAlias = int | float | Missing
"""A measured number in SI units, or why there is none."""

# ------------------------------------------------------------------------------------------------- what is asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """One model as the user named it: ``[alias=]backend:target[@revision][+key=value...]``."""

    alias: str
    """Part of every cell id: ASCII, stable under a change of revision, dtype or hash."""
    backend: str
    """Registered name of the model source."""
    target: str = ""
    """Repository, path, module:callable or script; empty where the backend needs none."""
    revision: str = ""
    """Revision of a hub repository; empty for the default branch and for local files."""
    options: dict[str, str] = field(default_factory=dict)
    """The ``+key=value`` pairs."""
    text: str = ""
    """The spec as written, alias included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One chat message."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fill:
    """How a prompt gets an exact number of tokens: by a filler that can be measured out only beside the model."""

    tokens: int
    """Of the whole prompt as the model gets it, its chat template included."""
    key: str
    """What the words of the filler are drawn by."""
    text: str | None = None
    """The prompt, with a mark where the filler goes."""
    messages: tuple[Message, ...] = ()


TEST_BODY: typing.Final = "test body"
"""Source of a prompt that stands in a test's own code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One row of a prompt set: a text that goes to the model raw, or messages that go through its chat template."""

    id: str
    text: str | None = None
    messages: tuple[Message, ...] = ()
    reference: str | None = None
    """The expected answer, for checks that compare."""
    tags: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    source: str = ""
    """The set, and for files the position, that the row came from."""
    sha256: str = ""
    """Of what people saw of the prompt, where a stored row holds it no longer (``--llmci-redact``, or a secret in it): such a
    row can be recognized and not asked again."""
    variables: dict[str, str] = field(default_factory=dict, hash=False)
    """What was put into the placeholders of a template; empty where there was none, or it is withheld."""
    fill: Fill | None = None
    """Set where its length in tokens was asked for."""

    @property
    def is_open(self) -> bool:
        """True until a model has told how much filler makes the wanted number of tokens; nothing can be asked before."""
        return self.fill is not None and self.text is None and not self.messages

    @property
    def shown(self) -> str:
        """The text that people see and hashes cover: the raw text, or the messages as ``role: content`` lines."""
        if self.text is not None:
            return self.text
        if self.fill is not None and not self.messages:
            return f"({self.fill.tokens} tokens, by the model's tokenizer)"
        if not self.messages and self.sha256:
            return f"sha256:{self.sha256}"
        return "\n".join(f"{message.role}: {message.content}" for message in self.messages)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSettings:
    """How an answer is decoded."""

    max_new_tokens: int = 256
    fixed_length: bool = False
    """True: exactly ``max_new_tokens`` tokens, so that a longer answer is not taken for a slower model."""
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 0


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Model x prompt x parameters: the unit that is measured, judged and paired across runs."""

    id: str
    """``<alias>-<prompt id>``."""
    model: ModelSpec
    prompt: Prompt


LoadKind: TypeAlias = Literal["single-stream", "closed-loop", "server", "offline"]
"""How requests come. ``single-stream``: one after the other; ``closed-loop``: so many users, each asking again when it is answered;
``server``: at a rate, whatever becomes of those before (Poisson); ``offline``: all at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What an answer must keep to be a good one; None: no limit."""

    ttft_s: float | None = None
    itl_s: float | None = None
    """Mean gap between the answer's tokens."""
    latency_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A load."""

    kind: LoadKind
    requests: int
    """Of one run, or of one step of a sweep."""
    concurrency: int = 1
    """Users of a closed loop."""
    rate: float | None = None
    """Requests a second of ``server``; of a sweep the lowest."""
    highest_rate: float | None = None
    """Set where the highest rate that keeps the objective is looked for: the end of the search."""
    resolution: float = 0.1
    """Of a sweep: it ends when a rate that keeps the objective and one that does not are no further apart, as a share."""
    share: float = 0.95
    """Of a sweep: of the requests of a step that must keep the objective."""
    objective: Objective = field(default_factory=Objective)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPlan:
    """What the rounds of a cell under load ask: each round is one run of the scenario."""

    scenario: Scenario
    prompts: tuple[Prompt, ...]
    text: str
    """The scenario as people write it."""
    batch: int = 16
    """Prompts that a model in this machine's memory works on at once, offline."""
    timeout_s: float = 300.0
    """Of one request."""


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """One block of measured rounds of one prompt, as the model's process receives it."""

    cell: str
    prompt: Prompt
    generation: GenerationSettings
    rounds: int
    warmup: int
    """Unmeasured rounds before the first one."""
    first_round: int = 0
    """Number of rounds of this cell that went before, in earlier blocks."""
    anchor_every: int = 0
    """Of so many rounds in a row the first has the frozen model timed beside it, where the process has one; 0: none has."""
    load: LoadPlan | None = None
    """Set where each round is a run of many requests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRequest:
    """One question of a log-likelihood benchmark: how likely is each continuation after the context?"""

    context: str
    continuations: tuple[str, ...]
    id: str = ""
    """What messages and evidence call the question; empty: its number."""
    rolling: bool = False
    """True: each continuation is a whole document, scored from its beginning in windows of the model's context where it is
    longer than that, each token once; the context must be empty."""


# --------------------------------------------------------------------------------------------------- what came of it


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinuationScore:
    """How likely a model finds one continuation."""

    logprob: float
    """Sum of the natural log-probabilities of its tokens."""
    tokens: int
    """How many those are."""
    is_greedy: bool | None = None
    """Whether each token is the most likely one at its place; None where the source does not know."""
    truncated: int = 0
    """Tokens cut from the left of the context, as context and continuation were longer than what the model can read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorInfo:
    """Why something failed, as text that survives the process it happened in."""

    kind: str
    """Class of the failure: ``crashed``, ``timeout``, ``load``, ``generation``, ``protocol``, ``interrupted``,
    ``given_up``: not run, as the model's process had died too often before; ``imported``: the tool that measured it says so."""
    message: str
    facts: dict[str, str] = field(default_factory=dict)
    """Evidence as label and text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedScore:
    """A benchmark score that somebody else measured: shown beside what was measured here, never in place of it."""

    value: float
    """Per cent."""
    source: str
    """File, or ``paper``."""
    name: str
    """The model as the source has it."""
    note: str = ""
    """What the score is of, and what sets it apart from the model that ran: another commit, fewer bits, a doubt of the board."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a model costs to run: by the hour of its machine, or by the tokens of an endpoint."""

    name: str
    usd_per_hour: float | None = None
    usd_per_million_input_tokens: float | None = None
    usd_per_million_output_tokens: float | None = None
    environment: str = ""
    """The machine or service, for people."""
    source: str = ""
    """Where the price stands."""
    date: str = ""
    """ISO day on which the source gave it; empty where it is not told."""
    note: str = ""


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What one inference produced; its times stand in the block it belongs to."""

    text: str
    finish_reason: str
    """``stop``, ``length``, or what the source calls it."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    token_source: str = ""
    """Who counted: ``tokenizer``, ``chunks``, ``script``, ...; empty where nobody did."""
    special_only: bool = False
    """True where tokens came but all of them were special ones (end of text, padding)."""
    token_ids: tuple[int, ...] = ()
    templated: bool = False
    """True where the prompt went through the model's chat template."""
    kv_cache_bytes: int | None = None
    """Keys and values that the model held at the end; None where the source does not know."""
    kv_cache_tokens: int | None = None
    """Tokens that those have a place for."""
    piece_kinds: str = ""
    """One letter for each stamp, where the source tells them apart: ``c`` answer, ``r`` reasoning, ``b`` both, ``t`` a tool call."""
    cached_tokens: int | None = None
    """Of the prompt's tokens, those that came from a prefix cache."""
    reasoning_tokens: int | None = None
    """Of the output tokens, those of the reasoning."""
    retries: int | None = None
    """Attempts that failed before the one that was measured; None where a source makes none."""
    unobserved: dict[str, str] = field(default_factory=dict)
    """Metric -> why this inference has none, whatever an instrument reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadRun:
    """One run of a scenario, or one step of a sweep, request by request: the lists run over the requests, in the order of their
    intended sending. Times are nanoseconds from the beginning of the run."""

    step: int
    """Of a sweep, from 0; 0 where there is none."""
    kind: LoadKind
    rate: float | None
    """Requests a second that were offered; None where the answers set the pace."""
    concurrency: int | None
    """Users of a closed loop; None for the other scenarios."""
    served: Literal["at once", "one at a time", "in batches"]
    """How the model takes requests that are there together."""
    prompts: list[int]
    """Places among the prompts of the plan."""
    intended_ns: list[int]
    """When each was to be sent; every time of a request counts from there."""
    ready_ns: list[int]
    """When it could be sent at the earliest: later than intended where what came before had to end first."""
    sent_ns: list[int]
    first_ns: list[int | None]
    """When its first token came; None where none did, or nobody saw it."""
    ended_ns: list[int]
    """When its last token came, or it failed."""
    tokens: list[int | None]
    """Of its answer."""
    chunks: list[int]
    """Arrivals that the gap between tokens is the mean of."""
    failures: list[str]
    """Kind of failure; empty where it was answered."""
    messages: dict[str, str]
    """Kind of failure -> what the first of the kind said."""
    lags_ns: list[int]
    """How late the generator saw what happened: quantiles 0, 5, ... 95, 99, 100 % of its lag; empty where it does not wait for others."""
    cpu_ns: int
    """CPU time of the generator's process."""
    wall_ns: int
    values: dict[str, float]
    """Metric -> number, as stored."""
    reasons: dict[str, str]
    kept: bool | None = None
    """Of a step of a sweep: whether it kept the objective; None where that is not known."""


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """One measured round, as the model's process sends it."""

    values: dict[str, float]
    """Metric name -> number in the unit in which the log stores it."""
    reasons: dict[str, str]
    """Metric name -> why it could not be measured."""
    token_ns: tuple[int, ...]
    """Time to the first token, then the gap before each further one; they sum to the latency exactly."""
    completion: Completion
    noisy: str = ""
    """Why the round counts as noisy; empty if it does not."""
    memory_method: str = ""
    """``hwm``, ``sampler`` or ``lifetime``."""
    peak_rss_resolution_bytes: int | None = None
    worker_values: dict[str, float] = field(default_factory=dict)
    """Metrics of scope ``worker`` that this round or a warm-up before it made known, as stored."""
    runs: tuple[LoadRun, ...] = ()
    """Of a round under load: its run, or the steps of its sweep in their order."""
    warmup_failed: tuple[str, ...] = ()
    """Of the first round of a block: attempts at its warm-ups that failed and were made again, each with its reason."""


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
    price: Price | None = None
    """What the model costs; None where no price was chosen."""
    """Joined from ``--llmci-scores``; None where that names no such model."""
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
class CheckResult:
    """One check of one cell's output."""

    name: str
    passed: bool
    message: str
    """Why, in one line."""
    judged_by: str = ""
    """The model whose opinion the verdict is, as it was named; empty where a rule decided."""

    @property
    def title(self) -> str:
        """Its name, and whose opinion it is."""
        return f"{self.name} (judged by {self.judged_by})" if self.judged_by else self.name

    def __bool__(self) -> bool:
        return self.passed  # else 'assert output.check("json")' would hold whatever came of it


Verdict = Literal["pass", "failed", "inconclusive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetResult:
    """One budget of one cell."""

    budget: str
    """As written."""
    origin: str
    """Where it was written: ``--llmci-max-latency``, ``marker``, ``pyproject.toml: llmci_budget``."""
    metric: str
    statistic: str
    operator: str
    limit: float
    """SI."""
    verdict: Verdict
    observed: float | None
    """SI; None where it is missing."""
    rounds: int
    reason: str
    """How it was decided, or why it could not be."""
    p_value: float | None = None
    values: list[float] = field(default_factory=list)
    """The sample, SI, in the order of measuring."""


Mode: TypeAlias = Literal["interleaved", "anchored", "saved", "history", "exact"]
"""How two sides met. ``interleaved``: alternately in one session; ``anchored``: in two, each beside the same frozen model;
``saved``: in two; ``history``: against several; ``exact``: numbers that do not vary, however they met."""
Comparability: TypeAlias = Literal["pass", "regressed", "inconclusive", "not comparable", "new", "lost coverage"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonResult:
    """One metric of one cell, or of a whole model, against what it is compared with.

    Changes are relative: 0.05 is 5 % more than the reference, whichever direction is the better one.
    """

    metric: str
    mode: Mode
    verdict: Comparability
    against: str
    """The reference as people know it: ``origin/main``, the name of a baseline, a spec."""
    base: float | None
    """Median of the reference, SI; None where it has none, and for a whole model."""
    candidate: float | None
    change: float | None
    low: float | None = None
    """Limits of the change."""
    high: float | None = None
    visible: float | None = None
    """Smallest change for the worse that this comparison could have seen."""
    detect: float | None = None
    """Smallest change that was to be found."""
    rounds: int = 0
    """Samples on each side."""
    pairs: int = 0
    """Fresh pairs of processes that they came from."""
    p_value: float | None = None
    improved: bool = False
    """True where it is proven to have become better."""
    accepted: str = ""
    """Why a regression was accepted beforehand; empty if it was not."""
    reason: str = ""
    """How it was decided or why it could not be, in plain words."""
    shared: str = ""
    """The server, or the accelerator, that both sides computed on; empty where they had processes of their own on CPUs."""
    by_block: str = ""
    """Why a block of rounds was one value of the test, as on a server that limits rates; empty where each round was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowdownPart:
    """One reason of a change of the mean time of a call."""

    name: str
    """``prefill``, ``decode rate``, ``output length``, ``harness`` or ``noise``."""
    change: float | None
    """Seconds; None where it cannot be told."""
    reason: str = ""
    """Why it cannot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowdownResult:
    """Where a time of a cell that became worse lies: the change of the mean time of a call, in parts that add up to it."""

    against: str
    """The reference as people know it."""
    before: float | None = None
    """Mean time of a call of the reference, seconds; None where nothing is known."""
    now: float | None = None
    samples_before: int = 0
    """How many samples the mean is of."""
    samples_now: int = 0
    parts: list[SlowdownPart] = field(default_factory=list)
    untold: float | None = None
    """Seconds that lie in the parts that cannot be told, together; None where these hold no time of their own."""
    steal: float | None = None
    """Change of the CPU time that the hypervisor took, over all CPUs: beside the parts, as nobody knows which it met."""
    reason: str = ""
    """Why nothing is known; empty where something is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedSample:
    """A sampled output that did not pass."""

    number: int
    """Which sample of its cell, from 1."""
    seed: int
    """With it, ``llmci reproduce`` gets the same text again."""
    check: str
    message: str
    """Why, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleResult:
    """What the sampled outputs of one cell say of the rate at which they pass its checks."""

    verdict: Verdict
    min_pass_rate: float
    """0 to 1."""
    passed: int
    n: int
    """Samples that were judged: those up to the one that decided."""
    planned: int
    low: float
    """Exact lower limit of the rate (Clopper and Pearson), missed in 5 % of cases."""
    high: float
    """Exact upper limit, missed in ``alpha`` of all cases."""
    alpha: float
    """Chance of a false failure with the rate exactly at its limit: this cell's share of the session's 1 %."""
    p_value: float
    """Chance of so few passes, or fewer, at exactly the demanded rate."""
    temperature: float
    distinct: int
    """Different texts among them."""
    reason: str
    """How it was decided, or why it could not be."""
    needed: int | None = None
    """About how many samples would decide at the observed rate; None where it is decided, or no sensible number would."""
    failures: list[FailedSample] = field(default_factory=list)
    """The first of those that did not pass."""


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


# ------------------------------------------------------------------------------------------------------- JSON, both ways

R = TypeVar("R")


def to_json(record: object) -> dict[str, Any]:
    """The record as plain JSON data, log records with their ``type`` first."""
    data: dict[str, Any] = {}
    record_type: Any = type(record)
    kind, fields = _writers(record_type)
    if kind is not None:
        data["type"] = kind
    for name, _ in fields:
        data[name] = _plain(getattr(record, name))
    return data


def json_view(record: object) -> dict[str, Any]:
    """What :func:`to_json` gives, for writing at once and not for changing.

    Lists and objects of plain values are the record's own and not copies: a block has dozens of them.
    """
    record_type: Any = type(record)
    names, read, encoders = _reader(record_type)
    data: dict[str, Any] = dict(zip(names, read(record), strict=True))
    for name, write in encoders:
        value = data[name]
        if value is not None:
            data[name] = write(value)
    return data


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if value and type(value[0]) in (int, float, str):
            return list(value)
        return [_plain(item) for item in value]
    return to_json(value)


Encoder: TypeAlias = Callable[[Any], Any]
"""Turns a field's value into plain JSON data."""


@lru_cache(maxsize=None)
def _writers(kind: Any) -> tuple[str | None, tuple[tuple[str, Encoder | None], ...]]:
    """The ``type`` of a log record, and for each field how it is written; None: as it is."""
    resolved = typing.get_type_hints(kind)
    fields = tuple((entry.name, _writer(resolved[entry.name])) for entry in dataclasses.fields(kind))
    return getattr(kind, "TYPE", None), fields


@lru_cache(maxsize=None)
def _reader(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[tuple[str, Encoder], ...]]:
    """The keys of a record, ``type`` first where it has one; what reads their values; those that are not plain."""
    tag, fields = _writers(kind)
    names = (*(("type",) if tag is not None else ()), *(name for name, _ in fields))
    attributes = (*(("TYPE",) if tag is not None else ()), *(name for name, _ in fields))
    encoders = tuple((name, write) for name, write in fields if write is not None)
    if len(attributes) < 2:  # attrgetter gives no tuple then
        return names, lambda record: tuple(getattr(record, name) for name in attributes), encoders
    return names, attrgetter(*attributes), encoders


def _writer(hint: Any) -> Encoder | None:
    """Most fields hold nothing but plain values, and those of a block are many: they are not walked."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if hint in _ACCEPTED or origin is Literal:
        return None
    if origin is list and _writer(members[0]) is None:
        return None
    if origin is dict and _writer(members[1]) is None:
        return None
    if dataclasses.is_dataclass(hint):
        return json_view
    if origin is list and dataclasses.is_dataclass(members[0]):
        return _views
    if origin is types.UnionType and set(members) == {members[0], type(None)}:  # None is not handed over
        return _writer(members[0])
    return _plain


def _views(records: Sequence[object]) -> list[dict[str, Any]]:
    return [json_view(record) for record in records]


def from_json(kind: type[R], data: Mapping[str, Any]) -> R:
    """Build a record of that type.

    Keys that this version does not know are passed over, so that a later minor addition can be read.

    :raises StoreError: if a key is missing or holds something else than the field's type.
    """
    arguments: dict[str, Any] = {}
    record_type: Any = kind
    for name, (hint, decode, required, empty) in _fields(record_type).items():
        if name in data:
            value = data[name]
            if type(value) is hint:
                arguments[name] = value
                continue
            if empty is not None and not value and type(value) is empty:  # as most lists of a record are
                arguments[name] = empty()
                continue
            try:
                arguments[name] = decode(value)
            except StoreError as error:
                raise StoreError(f"{kind.__name__}.{name}: {error}") from None
        elif required:
            raise StoreError(f"{kind.__name__}: key '{name}' is missing.")
    return kind(**arguments)


Decoder: TypeAlias = Callable[[Any], Any]
"""Returns the value in the field's type, or raises StoreError."""


@lru_cache(maxsize=None)
def _fields(kind: Any) -> dict[str, tuple[Any, Decoder, bool, type[Any] | None]]:
    """Name -> type, decoder, whether the field must be given, and what it is built of where it holds a list or an object and
    that is empty. Built once a type: logs hold many lines."""
    resolved = typing.get_type_hints(kind)
    return {
        entry.name: (
            resolved[entry.name],
            _decoder(resolved[entry.name]),
            entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING,
            origin if (origin := typing.get_origin(resolved[entry.name])) in (list, dict) else None,
        )
        for entry in dataclasses.fields(kind)
    }


@lru_cache(maxsize=None)
def _decoder(hint: Any) -> Decoder:
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if hint in _ACCEPTED:
        return _scalar_decoder(hint)
    if origin is Literal:
        return _choice_decoder(members)
    if origin in (typing.Union, types.UnionType) and type(None) in members and len(members) == 2:
        return _optional_decoder(next(member for member in members if member is not type(None)))
    if origin in (list, tuple):
        return _list_decoder(origin, members[0])
    if origin is dict:
        return _object_decoder(members[1])
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return lambda value: from_json(hint, _expect(Mapping, "an object", value))
    return lambda value: value  # Json: whatever JSON holds


_ACCEPTED: dict[Any, frozenset[type]] = {
    str: frozenset({str}),
    int: frozenset({int}),
    float: frozenset({float, int}),  # integers stay integers: nanoseconds are exact
    bool: frozenset({bool}),
    float | None: frozenset({float, int, type(None)}),
    int | None: frozenset({int, type(None)}),
    str | None: frozenset({str, type(None)}),
}
"""Types that a field of that type takes from JSON as they are."""


def _expect(kind: Any, words: str, value: Any) -> Any:
    if (type(value) is list and kind is Sequence) or (type(value) is dict and kind is Mapping):
        return value  # what JSON gives; asking the abstract classes costs ten times as much
    if not isinstance(value, kind) or isinstance(value, str):
        raise StoreError(f"expected {words}, found {type(value).__name__}.")
    return value


def _scalar_decoder(hint: Any) -> Decoder:
    accepted, name = _ACCEPTED[hint], getattr(hint, "__name__", str(hint))

    def decode(value: Any) -> Any:
        if type(value) not in accepted:
            raise StoreError(f"expected {name}, found {type(value).__name__}.")
        return value

    return decode


def _choice_decoder(choices: tuple[Any, ...]) -> Decoder:
    def decode(value: Any) -> Any:
        if value not in choices:
            raise StoreError(f"{value!r} is none of {', '.join(map(repr, choices))}.")
        return value

    return decode


def _optional_decoder(hint: Any) -> Decoder:
    inner = _decoder(hint)
    return lambda value: None if value is None else inner(value)


def _list_decoder(make: Any, item: Any) -> Decoder:
    inner, accepted = _decoder(item), _ACCEPTED.get(item, frozenset())

    def decode(value: Any) -> Any:
        _expect(Sequence, "a list", value)
        if accepted.issuperset(map(type, value)):
            return make(value)  # a column of numbers: one look at its types, not a call for each of them
        return make(map(inner, value))

    return decode


_LIST = frozenset({list})


def _object_decoder(item: Any) -> Decoder:
    inner, accepted = _decoder(item), _ACCEPTED.get(item, frozenset())
    columns = _ACCEPTED.get(typing.get_args(item)[0], frozenset()) if typing.get_origin(item) is list else frozenset()

    def decode(value: Any) -> Any:
        _expect(Mapping, "an object", value)
        entries = value.values()
        if accepted.issuperset(map(type, entries)):
            return dict(value)
        if (
            columns
            and _LIST.issuperset(map(type, entries))
            and columns.issuperset(map(type, chain.from_iterable(entries)))
        ):
            return {key: entry.copy() for key, entry in value.items()}
        return {key: inner(entry) for key, entry in value.items()}

    return decode
