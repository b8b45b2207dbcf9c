"""Jobs of many requests: cut into messages, told by their requests, and carried out where a backend has no faster way.

Needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..backends.base import OnBatch, OnCompletion, OnScores
from ..backends.stopping import stopped
from ..records import Completion, ContinuationScore, GenerationSettings, Prompt, ScoreRequest
from .progress import Position

T = TypeVar("T")
MESSAGE_REQUESTS: Final = 512
"""Most requests in one message. They are sorted by length within it, so it should hold many batches."""
MESSAGE_CHARACTERS: Final = 1 << 22


@dataclass(slots=True)
class Job:
    """What was asked for and how much of it has come back."""

    name: str
    """``llm.score_many``."""
    what: str
    """``question``."""
    ids: Sequence[str]
    """What each request is called; empty where it has only its number."""
    first: int = 0
    """Number of the first request in the message that is being answered."""
    done: int = 0

    def when(self, position: Position) -> str:
        """Where the process stood, in words: ``in llm.score_many, question 7 of 200 (arc-12) and 24 more in its batch``."""
        number, size = self.first + position.block_round, position.tokens
        if size < 1 or number >= len(self.ids):
            return f"in {self.name}, before the first {self.what} of a batch"
        named = f" ({self.ids[number]})" if self.ids[number] else ""
        others = f" and {size - 1} more in its batch" if size > 1 else ""
        return f"in {self.name}, {self.what} {number + 1} of {len(self.ids)}{named}{others}"

    @property
    def kept(self) -> str | None:
        """What had been handed over."""
        return f"{self.done} of {len(self.ids)} {self.what}s had been answered" if self.done else None


def score_job(requests: Sequence[ScoreRequest]) -> Job:
    """A job of questions."""
    return Job("llm.score_many", "question", [request.id for request in requests])


def generate_job(prompts: Sequence[Prompt]) -> Job:
    """A job of prompts."""
    return Job("llm.generate_many", "prompt", [prompt.id for prompt in prompts])


def in_messages(items: Sequence[T], size: Callable[[T], int]) -> Iterator[tuple[int, Sequence[T]]]:
    """Cut a job into messages of bounded length; yields the number of the first request in each, and its requests.

    :param size: characters of a request.
    """
    first, characters = 0, 0
    for number, item in enumerate(items):
        characters += size(item)
        if number > first and (number - first >= MESSAGE_REQUESTS or characters > MESSAGE_CHARACTERS):
            yield first, items[first:number]
            first, characters = number, size(item)
    if items:
        yield first, items[first:]


def score_size(request: ScoreRequest) -> int:
    """Characters of a question."""
    return len(request.context) + sum(map(len, request.continuations))


def prompt_size(prompt: Prompt) -> int:
    """Characters of a prompt."""
    return len(prompt.shown)


def score_each(
    score: Callable[[str, str], Sequence[float]], requests: Sequence[ScoreRequest], *, on_batch: OnBatch,
    on_scores: OnScores,
) -> None:  # fmt: skip
    """Score one continuation after the other, for backends that have no faster way."""
    for number, request in enumerate(requests):
        found = []
        for continuation in request.continuations:
            on_batch([number])  # the time limit is that of one
            logprobs = [float(value) for value in score(request.context, continuation)]
            found.append(ContinuationScore(logprob=sum(logprobs), tokens=len(logprobs)))
        on_scores(number, found)


def generate_each(
    backend: Any, prompts: Sequence[Prompt], settings: GenerationSettings, stop: Sequence[str], *, on_batch: OnBatch,
    on_completion: OnCompletion,
) -> None:  # fmt: skip
    """Answer one prompt after the other, for backends that have no faster way."""
    for number, prompt in enumerate(prompts):
        on_batch([number])
        completion: Completion = backend.complete(backend.generate(prompt, settings, lambda: None))
        on_completion(number, stopped(completion, stop))
