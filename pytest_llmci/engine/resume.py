"""Answers of an earlier run that a session takes over, so that a benchmark goes on where it was killed.

Only answers of the same model to the same questions in the same words are taken, and only whole batches are there: what an
uninterrupted session would have asked together is asked together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import ConfigError, StoreError
from ..records import AnswersRecord, LogRecord, QuestionsRecord, TaskFacts, WorkerRecord
from ..store.comparability import subject_part
from ..store.log import LOG_NAME, LogReader, read_spool
from .benchmark import TaskCell

SAME: Final = ("questions_sha256", "prompt_sha256", "metrics", "shots")
WORDS: Final = {
    "questions_sha256": "other questions (a limit, another file, or changed rows)",
    "prompt_sha256": "another prompt",
    "metrics": "other metrics",
    "shots": "another number of examples",
}


class EarlierAnswers:
    """The answers in a run folder, of a run that was killed or finished."""

    def __init__(self, folder: Path, origin: str) -> None:
        """:param origin: the option, for messages.

        :raises ConfigError: if the run holds no answers to a benchmark task, or cannot be read.
        """
        self.run = folder.name
        self._origin = origin
        self._workers: dict[str, WorkerRecord] = {}
        self._batches: dict[tuple[str, str], dict[str, QuestionsRecord]] = {}
        self._uncounted: dict[tuple[str, str], dict[str, AnswersRecord]] = {}
        try:
            for record in _records(folder):
                self._take(record)
        except StoreError as error:
            raise ConfigError(f"{origin}: {error}") from error
        if not self._batches and not self._uncounted:
            raise ConfigError(
                f"{origin}: {self.run} holds no answers to benchmark tasks; name another run, or leave {origin} away."
            )

    def _take(self, record: LogRecord) -> None:
        if isinstance(record, WorkerRecord):
            self._workers[record.uid] = record
        elif isinstance(record, QuestionsRecord) and record.origin == "measured":
            self._batches.setdefault((record.model, record.task.name), {})[record.uid] = record
        elif isinstance(record, AnswersRecord):
            self._uncounted.setdefault((record.model, record.task), {})[record.uid] = record

    def __call__(self, cell: TaskCell, facts: TaskFacts, worker: WorkerRecord) -> tuple[str, list[QuestionsRecord]]:
        """The run and those of its batches that answer this task, each question once.

        :raises ConfigError: if it has answers to this task and they are of another model, or to other questions.
        """
        batches = list(self._batches.get((cell.model.alias, facts.name), {}).values())
        last = max((batch.attempt for batch in batches), default=0)
        kept: list[QuestionsRecord] = []
        seen: set[int] = set()
        for batch in (batch for batch in batches if batch.attempt == last):
            self._check(facts, batch, worker)
            if seen.isdisjoint(batch.index):
                seen.update(batch.index)
                kept.append(batch)
        return self.run, kept

    def uncounted(self, cell: TaskCell, worker: WorkerRecord) -> list[AnswersRecord]:
        """Answers to a task of lm-evaluation-harness, which counts at its end; of the last attempt.

        :raises ConfigError: if they are of another model.
        """
        batches = list(self._uncounted.get((cell.model.alias, cell.test.name), {}).values())
        last = max((batch.attempt for batch in batches), default=0)
        kept = [batch for batch in batches if batch.attempt == last]
        for batch in kept:
            self._refuse(cell.test.name, self._of_model(batch, worker))
        return kept

    def check_uncounted(self, batch: AnswersRecord, index: int, prompt_sha256: str, questions: int) -> None:
        """See whether an answer is one to what is asked now.

        :raises ConfigError: if it is not.
        """
        other_prompt = batch.prompt_sha256[batch.index.index(index)] != prompt_sha256
        different = [WORDS["questions_sha256"]] if batch.questions != questions else []
        self._refuse(
            batch.task, [*different, *(["another question or prompt"] if other_prompt and not different else [])]
        )

    def _check(self, facts: TaskFacts, batch: QuestionsRecord, worker: WorkerRecord) -> None:
        different = [WORDS[name] for name in SAME if getattr(batch.task, name) != getattr(facts, name)]
        self._refuse(facts.name, [*different, *self._of_model(batch, worker)])

    def _of_model(self, batch: QuestionsRecord | AnswersRecord, worker: WorkerRecord) -> list[str]:
        """What is not the same of the model, and what of its answers was withheld."""
        different = []
        earlier = self._workers.get(batch.worker)
        if earlier is None:
            different.append("a process that the log does not tell of")
        else:
            different += map(str, subject_part(earlier, {}).differences(subject_part(worker, {})))
        if batch.outputs_withheld:
            different.append("answers whose text was withheld")
        return different

    def _refuse(self, task: str, different: list[str]) -> None:
        if different:
            raise ConfigError(
                f"{self._origin}: {self.run} answered {task} with {'; '.join(different)}: nothing is taken over from that; leave"
                f" {self._origin} away to ask all questions."
            )


def _records(folder: Path) -> Iterator[LogRecord]:
    """Of the log, up to its last whole line, and of what parallel workers had recorded and not handed over."""
    yield from LogReader(folder / LOG_NAME, (WorkerRecord.TYPE, QuestionsRecord.TYPE, AnswersRecord.TYPE))
    for spool in sorted((folder / "spool").glob("*.jsonl")):
        yield from read_spool(spool)
