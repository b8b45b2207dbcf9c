"""What came of it, as the process of a model tells it, and what is known of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..quick_records import quickly_made
from .asked import LoadKind


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
