"""The answers that a model gave to a benchmark task, as the lines ``questions`` of a log hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ..records import BudgetResult, ComparisonResult, ErrorInfo, QuestionsRecord, TaskFacts, Verdict

if TYPE_CHECKING:
    from ..tasks.counting import Rate

SAME: Final = ("questions_sha256", "prompt_sha256", "metrics", "shots")
"""Facts of a task that must be the same where its answers are taken from another run."""
WORDS: Final = {
    "questions_sha256": "other questions (a limit, another file, or changed rows)",
    "prompt_sha256": "another prompt",
    "metrics": "other metrics",
    "shots": "another number of examples",
}
"""What stands in a message where one of them is not."""


@dataclass(slots=True)
class Answers:
    """Of one task in one test: those of its last attempt."""

    records: list[QuestionsRecord] = field(default_factory=list)
    replays: list[QuestionsRecord] = field(default_factory=list)

    def take(self, record: QuestionsRecord) -> None:
        """Take the next batch."""
        if self.records and record.attempt > self.records[0].attempt:
            self.records, self.replays = [], []
        if self.records and record.attempt < self.records[0].attempt:
            return
        (self.replays if record.origin.endswith("replay") else self.records).append(record)

    @property
    def facts(self) -> TaskFacts:
        """What was asked."""
        return self.records[0].task

    @property
    def answered(self) -> int:
        """Questions with an answer."""
        return len({index for record in self.records for index in record.index})

    @property
    def is_complete(self) -> bool:
        """Whether every question has one."""
        return bool(self.records) and self.answered == self.facts.questions

    def values(self, metric: str) -> list[float]:
        """What each question adds to a metric, in the order of the file."""
        found = {
            index: value
            for record in self.records
            for index, value in zip(record.index, record.values[metric], strict=True)
        }
        return [found[index] for index in sorted(found)]

    def column(self, name: str) -> list[object]:
        """Another list over the questions, in the order of the file."""
        found = {
            index: value
            for record in self.records
            for index, value in zip(record.index, getattr(record, name), strict=True)
        }
        return [found[index] for index in sorted(found)]

    @property
    def rates(self) -> dict[str, Rate]:
        """Metric -> rate; none where a question has no answer: a part would be another benchmark."""
        from ..tasks.counting import rate

        return {metric: rate(self.values(metric)) for metric in self.facts.metrics} if self.is_complete else {}

    @property
    def truncated(self) -> int:
        """Questions whose prompt did not fit into the model's context."""
        return sum(1 for record in self.records for cut in record.truncated if cut)

    @property
    def resumed(self) -> int:
        """Answers that were taken from an earlier run."""
        return sum(record.n for record in self.records if record.resumed_from)

    @property
    def deterministic(self) -> bool | None:
        """Whether questions that were asked twice got the same numbers to the last bit; None where none was."""
        if not self.replays:
            return None
        first = {
            index: given for record in self.records for index, given in zip(record.index, _given(record), strict=True)
        }
        again = [(i, given) for record in self.replays for i, given in zip(record.index, _given(record), strict=True)]
        return all(first.get(index) == given for index, given in again)


def _given(record: QuestionsRecord) -> Sequence[object]:
    return record.outputs or record.logprobs


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """One benchmark task as one test asked and judged it."""

    cell: str
    model: str
    test: str
    name: str
    """The task, with its subject."""
    verdict: Verdict | None
    """None: never judged, as where the session was killed."""
    error: ErrorInfo | None
    budgets: tuple[BudgetResult, ...]
    comparisons: tuple[ComparisonResult, ...]
    answers: Answers | None = field(repr=False)
    """None where nothing was asked."""
    not_resumed: str = ""
    """Why answers of an earlier run were not taken over, where it holds some."""

    @property
    def facts(self) -> TaskFacts | None:
        """What was asked; None where nothing was."""
        return self.answers.facts if self.answers is not None else None

    @cached_property
    def rates(self) -> dict[str, Rate]:
        """Metric -> rate; empty where the task was not answered to its end, or failed."""
        return self.answers.rates if self.answers is not None and self.error is None else {}


@dataclass(frozen=True, kw_only=True)
class BenchmarkScore:
    """One benchmark of one model, over its subjects."""

    suite: str
    metric: str
    rate: Rate
    whole: bool
    """Whether it may be called the benchmark's score."""
    label: str

    @property
    def per_cent(self) -> float:
        """The rate as people read it."""
        return 100 * self.rate.value


def benchmark_scores(tasks: Iterable[TaskSummary]) -> list[BenchmarkScore]:
    """What a model reached in each benchmark that was answered to its end, the subjects of one taken together."""
    groups: dict[str, list[TaskSummary]] = {}
    for task in tasks:
        groups.setdefault(task.facts.suite if task.facts is not None else task.name, []).append(task)
    return [_score(suite, group) for suite, group in groups.items() if all(task.rates for task in group)]


def _score(suite: str, group: Sequence[TaskSummary]) -> BenchmarkScore:
    from ..tasks.counting import pooled

    facts = [task.facts for task in group if task.facts is not None]
    main = facts[0].main
    combined = pooled([task.rates[main] for task in group])
    label, whole = facts[0].label, facts[0].whole
    if len(facts) > 1 or facts[0].subject:
        label, whole = _over_subjects(facts)
    return BenchmarkScore(suite=suite, metric=main, rate=combined, whole=whole, label=label)


def _over_subjects(facts: Sequence[TaskFacts]) -> tuple[str, bool]:
    from ..tasks import TASKS

    task = TASKS.get(facts[0].suite)
    of = len(task.sizes) if task is not None else len(facts)
    asked = sum(each.questions for each in facts)
    size = task.size if task is not None else None
    whole = len(facts) == of and all(each.whole for each in facts)
    counted = f"{asked} questions" if size in (None, asked) else f"{asked} of {size} questions"
    subjects = f"{len(facts)} subjects" if len(facts) == of else f"{len(facts)} of {of} subjects"
    rest = dict.fromkeys(part for each in facts for part in each.label.split(", ")[1:])
    return ", ".join([counted, subjects, *rest]), whole


def measured_score(tasks: Iterable[TaskSummary]) -> Mapping[str, BenchmarkScore]:
    """The scores that may be called such, by benchmark."""
    return {score.suite: score for score in benchmark_scores(tasks) if score.whole}
