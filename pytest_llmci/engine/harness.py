"""A task of lm-evaluation-harness in a session: asked through the bridge, recorded as every other benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..clock import Clock, utc_text
from ..errors import ConfigError, LLMCIError, NotReplayed
from ..records import (
    AnswersRecord,
    Completion,
    ContinuationScore,
    GenerationSettings,
    Prompt,
    QuestionsRecord,
    ScoreRequest,
    TaskFacts,
)
from ..runner.model_worker import ModelWorker
from ..tasks.base import digest
from ..tasks.counting import chosen
from ..tasks.lm_eval_bridge import run_lm_eval_task
from ..tasks.outcomes import AnswerBatch, QuestionAnswer, QuestionKey, QuestionOutcome, TaskOutcome

if TYPE_CHECKING:
    from .resume import EarlierAnswers
    from .session import BenchSession
    from .task_cell import TaskCell

_FIRST: Final = ("acc_norm", "acc", "exact_match")
"""Metrics that are the score where a task has them, the first that it has."""


class OutOfTime(LLMCIError):
    """The time for measuring was over between two batches."""


class _Asked:
    """The session's model as the bridge wants one."""

    def __init__(self, session: BenchSession, cell: TaskCell, batch: int) -> None:
        self._session, self._cell, self._batch = session, cell, batch
        self.worker = ""

    def _ask(self, count: int, request: Callable[[ModelWorker], None]) -> None:
        about = Prompt(
            id=self._cell.test.name, text=f"{count} requests of {self._cell.test.name}", source="lm-evaluation-harness"
        )
        self.worker = self._session.ask_aside(self._cell.model, request, about)

    def score_many(
        self, requests: Sequence[ScoreRequest], *, batch: int | None = None,
        on_result: Callable[[int, Sequence[ContinuationScore]], None] | None = None,
    ) -> list[list[ContinuationScore]]:  # fmt: skip
        """Log-probabilities of each request's continuations."""
        found: dict[int, list[ContinuationScore]] = {}

        def keep(number: int, scores: Sequence[ContinuationScore]) -> None:
            found[number] = [*scores]
            if on_result is not None:
                on_result(number, scores)

        if requests:
            self._ask(len(requests), lambda model: model.score_many(requests, batch or self._batch, keep))
        return [found[number] for number in range(len(requests))]

    def generate_many(
        self, prompts: Sequence[Prompt], *, stop: Sequence[str] = (), batch: int | None = None, max_new_tokens: int | None = None,
        temperature: float | None = None, on_result: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:  # fmt: skip
        """Answers to prompts."""
        found: dict[int, Completion] = {}
        settings = GenerationSettings(
            max_new_tokens=max_new_tokens or GenerationSettings().max_new_tokens, temperature=temperature or 0.0,
            seed=self._session.settings.seed,
        )  # fmt: skip

        def keep(number: int, completion: Completion) -> None:
            found[number] = completion
            if on_result is not None:
                on_result(number, completion)

        if prompts:
            self._ask(
                len(prompts),
                lambda model: model.generate_many(prompts, settings, tuple(stop), batch or self._batch, keep),
            )
        return [found[number] for number in range(len(prompts))]


class _Kept:
    """Answers on their way to the log, batch by batch, so that a kill loses one batch; and those of an earlier run."""

    def __init__(self, session: BenchSession, clock: Clock, cell: TaskCell, earlier: EarlierAnswers | None) -> None:
        self._session, self._clock, self._cell, self._test = session, clock, cell, session.test
        self.started, self._done = utc_text(clock.utc()), 0
        self.worker = ""
        self._run, self._known = "", dict[int, tuple[AnswersRecord, QuestionAnswer]]()
        self.origins: dict[int, str] = {}
        """Question -> the run that asked it, of those that this session did not ask."""
        self.not_resumed = ""
        """Why answers of the earlier run were not taken over; empty where all were."""
        if earlier is not None:
            worker = session.load(cell.model)
            self._run, self.worker = earlier.run, worker.uid
            try:
                self._known = {
                    index: each for record in earlier.uncounted(cell, worker) for index, each in _answers(record)
                }
            except NotReplayed as error:
                self.not_resumed = str(error)
        self._earlier = earlier
        self._taken: set[str] = set()

    def known(self, key: QuestionKey, questions: int) -> QuestionAnswer | None:
        """The earlier run's answer to a question; None where it was asked something else."""
        record, answer = self._known.get(key.index, (None, None))
        if record is None or answer is None or self._earlier is None:
            return None
        try:
            self._earlier.check_uncounted(record, key.index, key.prompt_sha256, questions)
        except NotReplayed as error:
            self.not_resumed = self.not_resumed or str(error)
            return None
        origin = record.resumed_from or self._run
        if record.uid not in self._taken:
            self._taken.add(record.uid)
            self._session.record_answers(
                replace(
                    record, uid=self._session.new_uid(), worker=self.worker, test=self._test.id, attempt=self._test.attempt,
                    resumed_from=origin,
                )
            )  # fmt: skip
        self.origins[key.index] = origin
        self._tell(1, questions)
        return answer

    def take(self, batch: AnswerBatch, worker: str) -> None:
        """Record what was answered now."""
        self._session.record_answers(
            AnswersRecord(
                uid=self._session.new_uid(), cell=self._cell.id, model=self._cell.model.alias, test=self._test.id, worker=worker,
                started=self.started, task=self._cell.test.name, questions=batch.questions, n=len(batch.answers),
                index=[answer.key.index for answer in batch.answers],
                prompt_sha256=[answer.key.prompt_sha256 for answer in batch.answers],
                scores=[list(answer.scores) for answer in batch.answers] if any(each.scores for each in batch.answers) else [],
                outputs=[list(answer.outputs) for answer in batch.answers] if any(each.outputs for each in batch.answers) else [],
                attempt=self._test.attempt,
            )
        )  # fmt: skip
        self._tell(len(batch.answers), batch.questions)
        if self._done < batch.questions and self._session.out_of_time():
            raise OutOfTime(f"{self._done} of {batch.questions} questions were answered")

    def _tell(self, more: int, questions: int) -> None:
        self._done += more
        self._session.observer.questions_answered(self._cell.model, self._cell.test.name, self._done, questions)


def _answers(record: AnswersRecord) -> Iterator[tuple[int, tuple[AnswersRecord, QuestionAnswer]]]:
    for place, index in enumerate(record.index):
        key = QuestionKey(task=record.task, index=index, prompt_sha256=record.prompt_sha256[place])
        scores = tuple(record.scores[place]) if record.scores else ()
        yield (
            index,
            (
                record,
                QuestionAnswer(key=key, scores=scores, outputs=tuple(record.outputs[place]) if record.outputs else ()),
            ),
        )


def harness_records(
    session: BenchSession,
    clock: Clock,
    cell: TaskCell,
    *,
    batch: int,
    size: int,
    earlier: EarlierAnswers | None = None,
    refused: Callable[[str], None] = lambda _: None,
) -> Iterator[QuestionsRecord]:
    """Ask all documents of the task; the harness counts when it has all answers, which until then are in the log as they are.

    :param size: questions in a record.
    :param earlier: a run whose answers are taken over.
    :param refused: gets told why answers of that run were not taken over, where they were not.
    :raises ConfigError: in one line, if the task cannot be had, is a group, or has no metric that is a rate of questions.
    :raises OutOfTime: with what was answered in the log, to be taken over by another session.
    """
    asked, test = _Asked(session, cell, batch), session.test
    kept = _Kept(session, clock, cell, earlier)
    [outcome] = run_lm_eval_task(
        cell.test.harness, asked, limit=cell.test.limit, shots=cell.test.shots, group=False, known=kept.known,
        on_batch=lambda answered: kept.take(answered, asked.worker),
    )  # fmt: skip
    if kept.not_resumed:
        refused(kept.not_resumed)
    facts = _facts(cell, outcome)
    for start in range(0, outcome.n, size):
        part = outcome.questions[start : start + size]
        origins = {kept.origins.get(question.answer.key.index, "") for question in part}
        yield QuestionsRecord(
            uid=session.new_uid(), cell=cell.id, model=cell.model.alias, test=test.id, worker=asked.worker or kept.worker,
            started=kept.started, task=facts,
            origin="measured", n=len(part), index=[question.answer.key.index for question in part],
            doc_sha256=[question.doc_sha256 for question in part], gold=[_gold(question) for question in part],
            prediction=[chosen(question.logprobs) if len(question.logprobs) > 1 else -1 for question in part],
            logprobs=[list(question.logprobs) for question in part],
            outputs=["\n".join(question.answer.outputs) for question in part] if facts.kind == "generation" else [],
            truncated=[question.truncated for question in part],
            values={metric: [question.values[metric] for question in part] for metric in facts.metrics}, attempt=test.attempt,
            resumed_from=origins.pop() if len(origins) == 1 else "",
        )  # fmt: skip


def _gold(question: QuestionOutcome) -> list[int]:
    return [int(question.target)] if len(question.logprobs) > 1 and question.target.isdecimal() else []


def _facts(cell: TaskCell, outcome: TaskOutcome) -> TaskFacts:
    """What was asked, and which of the metrics are rates of questions."""
    metrics = [
        metric for metric in outcome.metrics
        if outcome.higher_is_better.get(metric, True)
        and all(0 <= question.values.get(metric, -1.0) <= 1 for question in outcome.questions)
    ]  # fmt: skip
    if not metrics:
        raise ConfigError(
            f"{cell.test.name}: its metrics ({', '.join(outcome.metrics) or 'none'}) are no shares of questions, so that there is no score."
        )
    main = next((metric for first in _FIRST for metric in metrics if metric.partition(",")[0] == first), metrics[0])
    n, part = outcome.n, [] if outcome.is_whole else [f"--llmci-limit={cell.test.limit}"]
    more = [f"{outcome.shots} examples as asked for"] if cell.test.shots is not None else []
    counted = f"{n} questions" if outcome.is_whole else f"{n} of {outcome.size} questions"
    return TaskFacts(
        suite=cell.test.suite, name=cell.test.name, title=f"{outcome.task} of {outcome.harness}", subject="", version=outcome.version,
        kind="generation" if any(question.answer.outputs for question in outcome.questions) else "choice", metrics=metrics, main=main,
        shots=outcome.shots, questions=n, rows=outcome.size, size=outcome.size, whole=outcome.is_whole and cell.test.shots is None,
        label=", ".join([counted, *part, *more]), source=outcome.harness, source_sha256="", questions_sha256=outcome.questions_sha256,
        prompt_sha256=digest([question.answer.key.prompt_sha256 for question in outcome.questions]),
    )  # fmt: skip
