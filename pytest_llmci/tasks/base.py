"""What a benchmark task is: documents, how they are asked, and how the answers are counted.

A document (:class:`Doc`) is a question with its answers, whatever file it came from; a :class:`Question` is what the model
gets of it. Prompts, metrics and numbers of examples are those of lm-evaluation-harness (:data:`HARNESS`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ..errors import ConfigError

HARNESS: Final = "lm-evaluation-harness 0.4.13"
"""Whose definitions the built-in tasks follow."""
Kind: TypeAlias = Literal["choice", "generation"]
DELIMITER: Final = " "
"""Between the prompt and each choice."""
BETWEEN_EXAMPLES: Final = "\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Doc:
    """One row of a benchmark."""

    where: str
    """File and row, for messages."""
    question: str
    choices: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    """Places of the right choices, from 0."""
    answer: str = ""
    """The reference, where the answer is generated."""
    variant: str = ""
    """How the text differs from what the harness asks; empty if it does not."""

    @property
    def sha256(self) -> str:
        """Of its contents: the same for every file that holds the same question with the same answers."""
        return digest([self.question, list(self.choices), list(self.gold), self.answer])


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a model is asked."""

    index: int
    """Place of its row in the file, from 0."""
    where: str
    doc_sha256: str
    asked: tuple[tuple[str, tuple[str, ...]], ...]
    """(context, continuations) pairs, the choices in their order; a question whose answer is generated has no continuation."""
    lengths: tuple[int, ...] = ()
    """Characters of each choice, without what stands between it and the prompt."""
    gold: tuple[int, ...] = ()
    answer: str = ""

    @property
    def choices(self) -> int:
        """How many there are."""
        return sum(len(continuations) for _, continuations in self.asked)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """Where the documents stand on the Hugging Face hub."""

    path: str
    name: str | None
    """Configuration; None for the only one, empty where it is the subject."""
    split: str
    examples_split: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """How an answer is generated: greedily."""

    until: tuple[str, ...]
    """The answer ends before the first of these."""
    max_new_tokens: int


Answer: TypeAlias = "Sequence[float] | str"
"""The log-probability of each choice, or what was generated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One benchmark."""

    name: str
    title: str
    """The benchmark and its part, such as ``ARC-Challenge, test``."""
    summary: str
    version: str
    """Of the task in lm-evaluation-harness."""
    metrics: tuple[str, ...]
    main: str
    """The metric that is the score."""
    size: int | None = None
    """Questions of the whole benchmark; None where nobody knows, as for a user's own."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """The same for each subject, where the benchmark has some."""
    shots: int = 0
    """Examples in the prompt, as lm-evaluation-harness has it."""
    kind: Kind = "choice"
    files: tuple[str, ...] = ()
    """Names under which a folder of data may hold it, relative, as patterns; the first that is there is taken."""
    shapes: str
    """What a file may look like, for messages and docs."""
    hub: Hub | None = None
    read: Callable[[Path], list[Doc]]
    """All documents of a file.

    :raises ConfigError: in one line that names file and row.
    """
    doc: Callable[[Mapping[str, object], str], Doc]
    """A row of the hub as a document."""
    ask: Callable[[Doc, str], tuple[tuple[str, tuple[str, ...]], ...]]
    """What the model gets of a document of that subject, without examples."""
    count: Callable[[Question, Answer], dict[str, float]]
    """Metric -> what the question adds to it, 0 to 1."""
    generation: Generation | None = None
    describe: Callable[[str], str] = lambda _: ""
    """What stands before the examples and the question, for a subject."""
    examples: Literal["none", "first", "drawn"] = "none"
    """Where examples come from: there are none; the first of the file of examples; drawn anew for each question."""
    examples_of: Callable[[Path], Path | None] = lambda _: None
    """The file of examples that belongs to a file of questions, whether it is there or not."""
    shown_choices: bool = False
    """Whether the prompt holds the choices and the model names one by its letter."""

    def lengths(self, doc: Doc) -> tuple[int, ...]:
        """Characters of what is scored of each choice."""
        return (1,) * len(doc.choices) if self.shown_choices else tuple(map(len, doc.choices))


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionSet:
    """The questions of one test."""

    task: Task
    subject: str = ""
    questions: tuple[Question, ...] = field(repr=False)
    """Those that are asked, in the order of the file."""
    rows: int
    """Rows of the file: more than are asked where there is a limit."""
    source: str
    """The file as people know it, or the address on the hub."""
    source_sha256: str = ""
    """Of the file's bytes; empty for the hub."""
    shots: int = 0
    limit: int | None = None
    notes: tuple[str, ...] = ()
    """What people have to know of it."""
    variants: tuple[str, ...] = ()
    """How its texts differ from what the harness asks."""

    @property
    def name(self) -> str:
        """The task, with the subject where there is one."""
        return f"{self.task.name}_{self.subject}" if self.subject else self.task.name

    @property
    def size(self) -> int | None:
        """Questions of the whole benchmark, or of that subject of it."""
        return self.task.sizes.get(self.subject) if self.subject else self.task.size

    @property
    def is_whole(self) -> bool:
        """Whether the result may be called the score of the benchmark: all of its questions, asked as the harness asks them.

        A user's own file is the whole of itself.
        """
        n = len(self.questions)
        if n < self.rows or self.shots != self.task.shots or self.variants:
            return False
        return self.task.size is None or n == self.size

    @property
    def label(self) -> str:
        """How many of how many, and whatever else sets the result apart from the benchmark's score."""
        n, of = len(self.questions), self.size or self.rows
        parts = [f"{n} of {of} questions"] if n != of else [f"{n} question{'' if n == 1 else 's'}"]
        if self.limit is not None and n < self.rows:
            parts.append(f"--llmci-limit={self.limit}")
        if self.shots != self.task.shots:
            parts.append(f"{self.shots} examples in place of {self.task.shots}")
        return ", ".join([*parts, *self.variants, *self.notes])

    @property
    def questions_sha256(self) -> str:
        """Of the questions and their answers, in their order."""
        return digest([question.doc_sha256 for question in self.questions])

    @property
    def prompt_sha256(self) -> str:
        """Of everything that the model is given."""
        return digest([question.asked for question in self.questions])


def digest(value: object) -> str:
    """sha256 of plain data."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def with_choices(context: str, choices: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """One context and, behind it, each of the choices."""
    return ((context, tuple(DELIMITER + choice for choice in choices)),)


def build_questions(
    task: Task, docs: Sequence[Doc], *, subject: str = "", shots: int = 0, examples: Sequence[Doc] = (), limit: int | None = None
) -> tuple[Question, ...]:  # fmt: skip
    """The questions that documents are turned into.

    :param examples: documents to take examples from.
    :param limit: how many of the first ones are asked; None for all.
    :raises ConfigError: if there are fewer examples than asked for.
    """
    if shots > len(examples):
        raise ConfigError(f"{task.name}: {shots} examples are asked for and there are {len(examples)}.")
    draw = _drawing(task, examples, shots)
    questions = []
    for index, doc in enumerate(docs if limit is None else docs[:limit]):
        before = task.describe(subject) + "".join(_example(task, each, subject) for each in draw())
        asked = tuple((before + context, continuations) for context, continuations in task.ask(doc, subject))
        questions.append(
            Question(
                index=index, where=doc.where, doc_sha256=doc.sha256, asked=asked, lengths=task.lengths(doc), gold=doc.gold,
                answer=doc.answer,
            )
        )  # fmt: skip
    return tuple(questions)


_SEED: Final = 1234
"""With which lm-evaluation-harness draws examples."""


def _drawing(task: Task, examples: Sequence[Doc], shots: int) -> Callable[[], Sequence[Doc]]:
    if not shots:
        return tuple
    if task.examples == "first":
        return lambda: examples[:shots]
    import random

    drawing = random.Random(_SEED)  # the very sequence that the harness draws
    return lambda: drawing.sample(list(examples), shots)


def _example(task: Task, doc: Doc, subject: str) -> str:
    """A document with its right answer."""
    context, continuations = task.ask(doc, subject)[0]
    answer = continuations[doc.gold[0]] if continuations else DELIMITER + doc.answer
    return f"{context}{answer}{BETWEEN_EXAMPLES}"
