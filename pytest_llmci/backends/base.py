"""What a model source is.

A backend lives in the model's process and is driven by one thread. ``runner/loop.py`` owns the clock: the backend calls
``stamp`` once for each token as it arrives and does nothing else inside the timed region that a plain user of the model
would not do. Turning ids into text belongs into :meth:`Backend.complete`, which is not timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from ..errors import GenerationError, ModelLoadError, UnknownNameError
from ..records import (
    Completion,
    ContinuationScore,
    GenerationSettings,
    Json,
    ModelSpec,
    Prompt,
    ScoreRequest,
)

Stamp = Callable[[], None]
"""Called at the arrival of each token (or chunk, where the source groups tokens)."""
Note = Callable[[int], None]
"""Called with the time of each such arrival, at any time after it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadContext:
    """What the process tells a backend before it loads."""

    threads: int
    """CPU threads that the model may use; 0 leaves the framework's own choice."""
    cache_dir: str
    """User cache directory, for conversions that are dear."""
    say: Callable[[str], None]
    """One short line of progress for people, such as ``converting (once)``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """What a backend says of the model that it made ready."""

    info: Mapping[str, Json] = field(default_factory=dict)
    """Revision, dtype, quantization, parameters, file hashes, versions; goes into the worker record."""
    footprint_bytes: int | None = None
    """Parameters and buffers over distinct storages; None where there are none to count."""
    footprint_reason: str = ""
    context_length: int | None = None
    record_ns: int = 0
    """Of the time that ``load`` took, what went into facts for the record alone, such as hashing files: it is no part of ``load_time``."""


class Backend(Protocol):
    """One model source. Built as ``Factory(spec)``; nothing heavy happens before :meth:`load`."""

    def load(self, context: LoadContext) -> LoadedModel:
        """Make the model ready.

        :raises ModelLoadError: with one line that names what was asked for and what to do.
        :raises MissingExtraError: if a package is not installed.
        """

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Any:
        """One inference, timed by the caller; returns whatever :meth:`complete` needs.

        :raises GenerationError: if it cannot be carried out.
        """

    def complete(self, produced: Any) -> Completion:
        """Turn what :meth:`generate` returned into text and counts; not timed."""

    def close(self) -> None:
        """Let go of the model."""


class Prepares(Protocol):
    """A backend that needs heavy packages."""

    def prepare(self) -> None:
        """Import them; called before :meth:`Backend.load` and timed apart from it, as ``import_time``.

        :raises MissingExtraError: if one is not installed.
        """


class Preflight(Protocol):
    """A backend class that knows beforehand what cannot work."""

    @staticmethod
    def preflight(spec: ModelSpec, sys_path: Sequence[str]) -> None:
        """Refuse what can be known to fail, before anything runs. Cheap: imports nothing heavy, reads no large file.

        :param sys_path: where the model's process will look for modules.
        :raises ConfigError: or a BackendError, with one line. Anything else is shown as a fault of the backend.
        """


class Streams(Protocol):
    """A backend whose tokens can be shown as they come."""

    def stream(self, prompt: Prompt, settings: GenerationSettings, on_text: Callable[[str], None]) -> Completion:
        """One inference, not measured; ``on_text`` gets each piece of text as it arrives."""


class Times(Protocol):
    """A backend that has the times of its tokens and tells them later, so that telling them takes none of theirs."""

    def generate_timed(self, prompt: Prompt, settings: GenerationSettings, note: Note) -> Any:
        """Asked in place of :meth:`Backend.generate`.

        :param note: takes when each token arrived, in their order, ``time.perf_counter_ns``.
        :raises GenerationError: if it cannot be carried out.
        """


class Scores(Protocol):
    """A backend that knows log-probabilities."""

    def score(self, context: str, continuation: str) -> Sequence[float]:
        """Natural log-probability of each token of ``continuation`` after ``context``.

        :raises GenerationError: if they do not fit into the model's context.
        """


class CountsTokens(Protocol):
    """A backend that knows how long a prompt is before it answers: ``llmci prompts --model``, and prompts of an exact length."""

    def count_tokens(self, prompt: Prompt) -> tuple[int, bool]:
        """Tokens of a prompt as the model gets it, its chat template included, and whether that was applied.

        :raises GenerationError: if the model cannot take such a prompt.
        """


OnBatch = Callable[[Sequence[int]], None]
"""Told before each piece of work which requests it is about: the time limit counts from there, and a death is told by them."""
OnScores = Callable[[int, Sequence[ContinuationScore]], None]
"""The number of a request and the scores of its continuations, as soon as they are known, in any order."""
OnCompletion = Callable[[int, Completion], None]


class ScoresMany(Protocol):
    """A backend that scores many continuations faster than one after the other; else they go through :class:`Scores`."""

    def score_many(
        self, requests: Sequence[ScoreRequest], batch: int, *, on_batch: OnBatch, on_scores: OnScores
    ) -> None:
        """Score all of them.

        :param batch: questions that are worked on at once, at most.
        :raises GenerationError: naming the question at fault.
        """


class GeneratesMany(Protocol):
    """A backend that answers many prompts faster than one after the other; else they go through :meth:`Backend.generate`."""

    def generate_many(
        self, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], batch: int, *,
        on_batch: OnBatch, on_completion: OnCompletion,
    ) -> None:  # fmt: skip
        """Answer all of them; none is measured.

        :param stop: an answer ends before the first of these that it holds.
        :param batch: prompts that are worked on at once, at most.
        :raises GenerationError: naming the prompt at fault.
        """


class TellsTokens(Protocol):
    """A backend whose ``Completion.token_ids`` can be shown."""

    def token_texts(self, ids: Sequence[int]) -> Sequence[str]:
        """Each token alone as text."""


class Unmeasurable(Protocol):
    """A backend class that knows beforehand what it can never measure."""

    @staticmethod
    def unmeasurable(spec: ModelSpec) -> Mapping[str, str]:
        """Metric -> reason, for metrics that no inference of this model can have. Cheap: imports nothing heavy."""


class Remote(Protocol):
    """A backend class whose models run in another process, or on another machine."""

    is_remote: ClassVar[bool]
    """True: what :meth:`Unmeasurable.unmeasurable` names is missing, though an instrument would read a number of the client, and no
    frozen model (``--llmci-anchor``) is timed beside its rounds, of which it would tell nothing."""


class ComputesHere(Protocol):
    """A backend class whose key ``device`` names a device of this machine, as PyTorch calls it."""

    computes_here: ClassVar[bool]
    """True: a device that the machine cannot have is refused before anything runs."""


class KeepsLength(Protocol):
    """A backend class whose answers never have more tokens than were asked for."""

    keeps_length: ClassVar[bool]
    """True: a budget on more tokens, or on what comes after the only one, is refused before anything runs."""


def check_options(spec: ModelSpec, known: Mapping[str, str]) -> None:
    """Refuse ``+key=value`` pairs that the backend does not know.

    :param known: key -> one line of help.
    :raises ModelLoadError: naming the nearest known keys.
    """
    for key in spec.options:
        if key not in known and key not in COMMON_OPTIONS:
            wrong = UnknownNameError.build(f"model '{spec.text}'", "key", key, {*known, *COMMON_OPTIONS})
            raise ModelLoadError(str(wrong), kind="option")


COMMON_OPTIONS: Mapping[str, str] = {
    "threads": "CPU threads of this model's process",
    "cpus": "CPUs that this model's process is pinned to",
    "python": "interpreter of this model's process",
    "concurrency": "load: users who ask at once, each again when it is answered",
    "rate": "load: requests a second, or LOW..HIGH for a sweep",
    "requests": "load: requests of a run",
}
"""Keys that the runner or the planner reads, whatever the backend."""


def require_length(prompt_tokens: int, wanted: int, limit: int | None, model: str) -> None:
    """Refuse a prompt that the model's context cannot hold.

    :param limit: tokens of the model's context; None where it has no fixed one.
    :raises GenerationError: of kind ``context``.
    """
    if limit is not None and prompt_tokens + wanted > limit:
        raise GenerationError(
            f"{model}: the prompt has {prompt_tokens} tokens and {wanted} new ones are asked for, but the context of the model is"
            f" {limit}: shorten the prompt or lower --llmci-max-new-tokens.",
            kind="context",
        )
