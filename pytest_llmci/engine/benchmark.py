"""A benchmark task in a session: asked in batches, each recorded as it comes, then counted and judged.

Batches are cut in the order of the file and never across, so that what a killed session had answered and what the next one
adds are the same batches that one session would have asked: the numbers are the same to the last bit where the model's are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..clock import Clock, utc_text
from ..errors import ConfigError, LLMCIError, NotReplayed
from ..records import (
    BudgetResult,
    ComparisonResult,
    Completion,
    ContinuationScore,
    ErrorInfo,
    GenerationSettings,
    ModelSpec,
    Prompt,
    Provenance,
    QuestionsRecord,
    Role,
    ScoreRequest,
    TaskFacts,
    Verdict,
    VerdictRecord,
    WorkerRecord,
)
from ..runner.model_worker import ModelWorker
from ..stats.budget_expression import Budget
from ..tasks.base import Answer, Question, QuestionSet
from ..tasks.counting import chosen
from .answers import Answers
from .pool import error_info
from .schedule import OUT_OF_TIME
from .task_cell import TaskCell

if TYPE_CHECKING:
    from .resume import EarlierAnswers
    from .session import BenchSession

BATCH: Final = 64
"""Questions that are asked and recorded together: a killed session loses at most so many."""


@dataclass(slots=True)
class TaskMeasurement:
    """What came of it so far."""

    cell: TaskCell
    answers: Answers = field(default_factory=Answers)
    error: ErrorInfo | None = None
    out_of_time: bool = False
    provenance: Provenance = "live"
    comparisons: list[ComparisonResult] = field(default_factory=list)
    not_resumed: str = ""
    """Why answers of an earlier run were not taken over; empty where they were, or there were none."""


class _NoNumber(LLMCIError):
    """The model gave something that is no log-probability."""

    kind = "nan"


class TaskRunner:
    """Asks tasks in a session."""

    def __init__(
        self, session: BenchSession, clock: Clock, *, batch: int, earlier: EarlierAnswers | None = None, replay: bool
    ) -> None:
        """:param batch: questions that the model works on at once, at most.
        :param replay: whether the first batch is asked twice, as where the answers are to be compared with others.
        """
        self._session = session
        self._clock = clock
        self._batch = batch
        self._earlier = earlier
        self._replay = replay

    def measure(self, cell: TaskCell) -> TaskMeasurement:
        """Ask all questions; failures of the model and of the data are held in the result and not raised."""
        measurement = TaskMeasurement(cell=cell)
        try:
            if cell.test.harness:
                self._through_harness(measurement)
                return measurement
            questions = cell.test.load()
            worker = self._session.load(cell.model)
            self._take_over(measurement, questions, worker)
            for number, batch in enumerate(self._left(measurement, questions)):
                if self._session.out_of_time():
                    measurement.out_of_time = True
                    break
                record = self.ask(cell, questions, batch, "measured")
                measurement.answers.take(record)
                self._tell(measurement, questions)
                if number == 0 and self._replay:
                    measurement.answers.take(self.ask(cell, questions, batch, "replay"))
        except ConfigError as error:
            measurement.error = ErrorInfo(kind="data", message=str(error))
        except LLMCIError as error:
            measurement.error = error_info(error)
        return measurement

    def _through_harness(self, measurement: TaskMeasurement) -> None:
        from .harness import OutOfTime, harness_records

        def refused(why: str) -> None:
            measurement.not_resumed = why

        try:
            for record in harness_records(
                self._session,
                self._clock,
                measurement.cell,
                batch=self._batch,
                size=BATCH,
                earlier=self._earlier,
                refused=refused,
            ):
                measurement.answers.take(self._session.record_questions(record))
        except OutOfTime:
            measurement.out_of_time = True

    def _take_over(self, measurement: TaskMeasurement, questions: QuestionSet, worker: WorkerRecord) -> None:
        if self._earlier is None:
            return
        try:
            run, records = self._earlier(measurement.cell, facts_of(questions, measurement.cell.test.suite), worker)
        except NotReplayed as error:
            measurement.not_resumed = str(error)
            return
        for record in records:
            test = self._session.test
            taken = self._session.take_over(record, run, worker=worker.uid, test=test.id, attempt=test.attempt)
            measurement.answers.take(taken)
        if records:
            self._tell(measurement, questions)

    def _left(self, measurement: TaskMeasurement, questions: QuestionSet) -> Iterator[Sequence[Question]]:
        known = {index for record in measurement.answers.records for index in record.index}
        for start in range(0, len(questions.questions), BATCH):
            batch = questions.questions[start : start + BATCH]
            left = [question for question in batch if question.index not in known]
            if left:
                yield left

    def _tell(self, measurement: TaskMeasurement, questions: QuestionSet) -> None:
        self._session.observer.questions_answered(
            measurement.cell.model, measurement.cell.test.name, measurement.answers.answered, len(questions.questions)
        )

    def ask(
        self, cell: TaskCell, questions: QuestionSet, batch: Sequence[Question], origin: str, *, model: ModelSpec | None = None
    ) -> QuestionsRecord:  # fmt: skip
        """Ask one batch and record it.

        :param model: what is asked in place of the cell's model: what that is compared with.
        :raises LLMCIError: if the model failed, or gave something that is no number.
        """
        role: Role = "timing" if model is None else "reference"
        started, test = utc_text(self._clock.utc()), self._session.test
        about = Prompt(id=cell.test.name, text=f"{len(batch)} questions of {cell.test.name}", source=questions.source)

        def request(work: Callable[[ModelWorker], None]) -> str:
            return self._session.ask_aside(model or cell.model, work, about, role)

        ask = self._generated if questions.task.kind == "generation" else self._scored
        worker, answers, truncated = ask(questions, batch, request)
        counted = [questions.task.count(question, answer) for question, answer in zip(batch, answers, strict=True)]
        record = QuestionsRecord(
            uid=self._session.new_uid(), cell=cell.id, model=cell.model.alias, test=test.id, worker=worker, started=started,
            task=facts_of(questions, cell.test.suite), origin=origin, n=len(batch),  # type: ignore[arg-type]  # one of the four
            index=[question.index for question in batch], doc_sha256=[question.doc_sha256 for question in batch],
            gold=[list(question.gold) for question in batch], prediction=list(map(chosen, answers)),
            logprobs=[[] if isinstance(answer, str) else list(answer) for answer in answers],
            outputs=[answer for answer in answers if isinstance(answer, str)], truncated=truncated,
            values={metric: [each[metric] for each in counted] for metric in questions.task.metrics}, attempt=test.attempt,
        )  # fmt: skip
        return self._session.record_questions(record)

    def _scored(
        self, questions: QuestionSet, batch: Sequence[Question], request: Callable[[Callable[[ModelWorker], None]], str]
    ) -> tuple[str, list[Answer], list[int]]:
        """The process that answered, the log-probabilities of each question's choices, and how much was cut from its prompt."""
        asked = [
            ScoreRequest(context=context, continuations=continuations, id=question.where)
            for question in batch
            for context, continuations in question.asked
        ]
        found: dict[int, Sequence[ContinuationScore]] = {}
        worker = request(lambda model: model.score_many(asked, self._batch, found.__setitem__))
        answers: list[Answer] = []
        truncated: list[int] = []
        place = 0
        for question in batch:
            scores = [score for number in range(place, place + len(question.asked)) for score in found[number]]
            place += len(question.asked)
            _check_numbers(question, scores)
            answers.append([score.logprob for score in scores])
            truncated.append(max(score.truncated for score in scores))
        return worker, answers, truncated

    def _generated(
        self, questions: QuestionSet, batch: Sequence[Question], request: Callable[[Callable[[ModelWorker], None]], str]
    ) -> tuple[str, list[Answer], list[int]]:
        asked = [Prompt(id=question.where, text=question.asked[0][0], source=questions.source) for question in batch]
        how = questions.task.generation
        assert how is not None
        settings = GenerationSettings(max_new_tokens=how.max_new_tokens)
        found: dict[int, Completion] = {}
        worker = request(lambda model: model.generate_many(asked, settings, how.until, self._batch, found.__setitem__))
        return worker, [found[number].text for number in range(len(batch))], [0] * len(batch)


def _check_numbers(question: Question, scores: Sequence[ContinuationScore]) -> None:
    if len(scores) != question.choices:
        raise _NoNumber(
            f"{question.where}: the model gave {len(scores)} log-probabilities for {question.choices} choices."
        )
    for number, score in enumerate(scores, 1):
        if not math.isfinite(score.logprob):
            raise _NoNumber(
                f"{question.where}: the log-probability of choice {number} is {score.logprob}, which is no number: the task has no score."
            )


def facts_of(questions: QuestionSet, suite: str) -> TaskFacts:
    """A set of questions as records hold it."""
    task = questions.task
    return TaskFacts(
        suite=suite, name=questions.name, title=task.title, subject=questions.subject, version=task.version, kind=task.kind,
        metrics=list(task.metrics), main=task.main, shots=questions.shots, questions=len(questions.questions), rows=questions.rows,
        size=questions.size, whole=questions.is_whole, label=questions.label, source=questions.source,
        source_sha256=questions.source_sha256, questions_sha256=questions.questions_sha256, prompt_sha256=questions.prompt_sha256,
    )  # fmt: skip


def task_verdict(measurement: TaskMeasurement, *, uid: str, test: str, attempt: int) -> VerdictRecord:
    """All that was decided on one task."""
    cell = measurement.cell
    budgets = [] if measurement.error else [_judged(measurement, budget) for budget in cell.budgets]
    return VerdictRecord(
        uid=uid, cell=cell.id, model=cell.model.alias, prompt_id=cell.test.name, test=test, task=cell.test.name,
        verdict=_overall(measurement, budgets), budgets=budgets, comparisons=measurement.comparisons, error=measurement.error,
        attempt=attempt, provenance=measurement.provenance, not_resumed=measurement.not_resumed,
    )  # fmt: skip


def _judged(measurement: TaskMeasurement, budget: Budget) -> BudgetResult:
    """Every question is asked and counted, so that the number is compared as it is."""
    answers = measurement.answers
    rates = answers.rates
    if not rates:
        return score_result(budget, None, OUT_OF_TIME, 0)
    facts = answers.facts
    return score_result(
        budget, 100 * rates[facts.main].value, f"{facts.main} over {facts.label}, compared as it is", facts.questions
    )


def score_result(budget: Budget, observed: float | None, reason: str, questions: int) -> BudgetResult:
    """A budget on a score, decided.

    :param observed: per cent; None where there is none.
    """
    verdict: Verdict = "inconclusive" if observed is None else "pass" if budget.is_met_by(observed) else "failed"
    return BudgetResult(
        budget=budget.text, origin=budget.origin, metric=budget.metric.name, statistic=budget.statistic, operator=budget.operator,
        limit=budget.limit, verdict=verdict, observed=observed, rounds=questions, reason=reason,
        values=[] if observed is None else [observed],
    )  # fmt: skip


def _overall(measurement: TaskMeasurement, budgets: Sequence[BudgetResult]) -> Verdict:
    results = measurement.comparisons
    if (
        measurement.error is not None
        or any(budget.verdict == "failed" for budget in budgets)
        or any(each.verdict == "regressed" and not each.accepted for each in results)
    ):
        return "failed"
    undecided = any(each.verdict in ("inconclusive", "not comparable", "lost coverage") for each in results)
    return "inconclusive" if undecided or measurement.out_of_time or not measurement.answers.is_complete else "pass"
