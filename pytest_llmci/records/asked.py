"""What models are asked, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from ..quick_records import quickly_made


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


TEST_BODY: Final = "test body"
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
