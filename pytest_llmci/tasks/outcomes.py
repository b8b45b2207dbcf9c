"""What a task that ran through lm-evaluation-harness gave, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..records import ContinuationScore, JsonObject
from .base import digest


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionKey:
    """One document of a task with what the model is asked of it: equal keys get equal answers."""

    task: str
    index: int
    """Place of the document among those of the task, from 0."""
    prompt_sha256: str
    """Of all contexts and continuations, or prompts and how they are answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionAnswer:
    """What the model answered, before it is counted; it comes as soon as it is known."""

    key: QuestionKey
    scores: tuple[ContinuationScore, ...] = ()
    """Of each continuation that was asked, in the order of the harness; empty where the answer is generated."""
    outputs: tuple[str, ...] = ()
    """What was generated, cut at the texts where the task stops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerBatch:
    """Answers to the questions of a task that were asked together."""

    task: str
    answers: tuple[QuestionAnswer, ...]
    questions: int
    """Of the task, in all batches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionOutcome:
    """One document, asked and counted."""

    answer: QuestionAnswer
    doc: JsonObject
    """The row, as the task prepared it."""
    doc_sha256: str
    """As the harness has it (``doc_hash``)."""
    asked: tuple[tuple[str, str], ...]
    """Context and continuation of each score; prompt and an empty text for what is generated."""
    target: str
    """The right answer as the harness writes it: the number of the choice, or a text."""
    values: Mapping[str, float]
    """Metric -> what the document adds to it, where that is a number."""

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Of each continuation."""
        return tuple(score.logprob for score in self.answer.scores)

    @property
    def truncated(self) -> int:
        """Most tokens that were cut from the left of a context."""
        return max((score.truncated for score in self.answer.scores), default=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOutcome:
    """One task, asked and counted."""

    task: str
    version: str
    harness: str
    """``lm-evaluation-harness 0.4.13``."""
    metrics: Mapping[str, float]
    """Metric -> its value as the harness aggregates it; a metric behind a filter of answers is ``name,filter``."""
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    """Of the metrics that are means over documents."""
    higher_is_better: Mapping[str, bool] = field(default_factory=dict)
    shots: int = 0
    n: int
    """Documents that were asked."""
    size: int
    """Documents of the task."""
    questions: tuple[QuestionOutcome, ...] = field(repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether all documents were asked: else it is not the task's score."""
        return self.n == self.size

    @property
    def questions_sha256(self) -> str:
        """Of all documents, in their order."""
        return digest([question.doc_sha256 for question in self.questions])
