"""What a session takes over from an earlier run, so that it goes on where that was killed: ``--llmci-resume``.

A cell is taken over if that run measured and judged it to its end, without an error, and its key is the same: the machine, what was
asked and how it was measured, and the model that answered, which is loaded to be sure. Whatever else there is, a cell that is
missing, one that failed because a process died, or one whose key changed, is measured. A verdict is always made anew, by today's
checks and budgets.

Of benchmark tasks, whole batches of answers are taken, of the same model to the same questions in the same words: what an
uninterrupted session would have asked together is asked together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

from ..errors import ConfigError, NotReplayed, StoreError
from ..records import AnswersRecord, Cell, FooterRecord, Json, LogRecord, QuestionsRecord, TaskFacts, WorkerRecord
from ..registry import Registry
from ..store.comparability import Difference, Part, machine_part, subject_part
from ..store.log import LOG_NAME, is_live
from ..store.machines import environment_of
from ..store.shelf import Place, Shelf
from .answers import SAME, WORDS
from .earlier import EarlierCell
from .schedule import CellPlan
from .stored_answers import MeasuredCell, StoredAnswers, look_of, plan_of
from .task_cell import TaskCell

MEASURED_BY: Final = ("warmup", "isolation", "threads", "timing", "memory", "block", "batch")
"""Settings of a session that its numbers depend on and that no line of a cell tells."""
R = TypeVar("R", QuestionsRecord, AnswersRecord)
_INTERRUPTED: Final = 2
"""Exit status of a session that Ctrl-C ended."""
_OWN: Final = "pytest_llmci."
_OF_USERS: Final = "py"
"""Ours, but what it runs is the user's code."""


class EarlierRun:
    """A run folder, of a run that was killed or finished."""

    def __init__(self, folder: Path, origin: str, registry: Registry, here: Mapping[str, Json]) -> None:
        """:param origin: the option, for messages.
        :param here: facts of this session's machine and checkout.
        :raises ConfigError: if the run came to its end and holds nothing to take over, is still running, or cannot be read.
        """
        self.folder = folder
        self._registry = registry
        self._here = here
        self._settings: Mapping[str, Json] = {}
        self._ended = False
        """Whether its session came to its end: one that was stopped may have been so before its first answer."""
        try:
            if is_live(folder / LOG_NAME):
                raise ConfigError(f"{origin}: the session of {folder.name} is still running; wait until it has ended.")
            shelf = Shelf(folder, spools=True)
            self.answers = EarlierAnswers(shelf)
            """To benchmark tasks."""
            self._stored = StoredAnswers(folder, shelf, self._take)
        except StoreError as error:
            raise ConfigError(f"{origin}: {error}") from error
        except ConfigError as error:
            raise ConfigError(str(error) if str(error).startswith(origin) else f"{origin}: {error}") from error
        self.run = self._stored.run_id
        self.answers.run = self.run
        if self._ended and not self.answers and not self._stored.blocks:
            raise ConfigError(f"{origin}: {self.run} holds no answer; name another run, or leave {origin} away.")

    def _take(self, record: LogRecord, place: Place) -> None:
        if isinstance(record, FooterRecord):
            self._ended = not record.recovered and record.exit_status != _INTERRUPTED
        self.answers.take(record, place)

    def note_settings(self, settings: Mapping[str, Json]) -> None:
        """Tell how this session measures: fields of its settings."""
        self._settings = settings

    def holds(self, test: str, cell: Cell, plan: CellPlan) -> bool:
        """Whether a cell will be taken over, as far as can be told before its model is loaded."""
        try:
            self._find(test, cell, plan)
        except NotReplayed:
            return False
        return True

    def cell(self, test: str, cell: Cell, plan: CellPlan, start: Callable[[], WorkerRecord]) -> EarlierCell:
        """What there is of a cell, if it is the same; the model is loaded only where all else is.

        :raises NotReplayed: with the reason; an empty one where the run holds nothing of it.
        """
        stored = self._find(test, cell, plan)
        then = self._stored.workers.get(stored.measured[0].worker)
        if then is None:
            raise NotReplayed("its process is not in the log")
        if told := self._other_subject(then, start()):
            raise NotReplayed(f"the model has changed since run {self.run}: {told[0]}")
        run = stored.measured[0].resumed_from or self.run
        blocks = [*stored.measured, *stored.memory, *stored.samples]
        starts = {
            uid: replace(worker, uid=_uid(run, uid), provenance="resumed", resumed_from=worker.resumed_from or run)
            for uid in {block.worker for block in blocks}
            if (worker := self._stored.workers.get(uid)) is not None
        }
        plan = plan_of(stored, plan)
        return EarlierCell(
            run=run, plan=plan, look=look_of(stored, plan), measured=stored.measured, memory=stored.memory, samples=stored.samples,
            worker=starts[then.uid], worker_values=self._stored.values(then), starts=starts,
        )  # fmt: skip

    def _find(self, test: str, cell: Cell, plan: CellPlan) -> MeasuredCell:
        if not self._stored.judged(test, cell.id):
            raise NotReplayed("")
        if (error := self._stored.error(test, cell.id)) is not None:
            raise NotReplayed(f"it ended in an error in run {self.run}: {error.kind}")
        if told := self._other_session(cell):
            raise NotReplayed(told)
        stored = self._stored.measured_by(test, cell, plan)
        blocks = [*stored.measured, *stored.memory, *stored.samples]
        if any(block.error is not None for block in blocks):
            raise NotReplayed(f"a block of it ended early in run {self.run}")
        if stored.measured[0].pair is not None:
            raise NotReplayed(f"it was measured beside what it was compared with in run {self.run}")
        rounds = sum(block.n for block in stored.measured)
        if not plan.rounds <= rounds <= plan.max_rounds:
            raise NotReplayed(
                f"it has {rounds} rounds in run {self.run}, and {plan.rounds} to {plan.max_rounds} are asked for"
            )
        if plan.memory_rounds and not stored.memory:
            raise NotReplayed(f"it had no memory pass in run {self.run}")
        return stored

    def _other_session(self, cell: Cell) -> str:
        """Why nothing of the model may be taken over; empty if it may."""
        header = self._stored.header
        alias = cell.model.alias
        there = environment_of(header, alias, self._starts.get(alias))
        if different := machine_part(there).differences(machine_part(self._here)):
            return f"run {self.run} was measured on another machine: {different[0]}"
        for name in MEASURED_BY:
            if name in header.settings and header.settings[name] != self._settings.get(name):
                return f"run {self.run} was measured otherwise: {Difference(name, header.settings[name], self._settings.get(name))}"
        if self._runs_users_code(cell):
            return self._other_code(there)
        return ""

    @cached_property
    def _starts(self) -> dict[str, WorkerRecord]:
        """Alias -> the last start of the model."""
        return {worker.model: worker for worker in self._stored.workers.values() if worker.role == "timing"}

    def _runs_users_code(self, cell: Cell) -> bool:
        target = self._registry.get("backend", cell.model.backend, "--llmci-resume").target
        return cell.model.backend == _OF_USERS or not target.startswith(_OWN)

    def _other_code(self, there: Mapping[str, Json]) -> str:
        """Why the code that answers may be another; two states that nobody committed cannot be told apart."""
        then, now = there.get("git"), self._here.get("git")
        if not isinstance(then, dict) or not isinstance(now, dict) or not then.get("commit"):
            return "its model is code of yours, and outside of a git checkout nobody knows whether that changed"
        if then.get("commit") != now.get("commit"):
            return f"its model is code of yours, and the commit is another than in run {self.run}"
        if then.get("dirty") or now.get("dirty"):
            return "its model is code of yours, and changes that are not committed cannot be told apart"
        return ""

    def _other_subject(self, then: WorkerRecord, now: WorkerRecord) -> tuple[Difference, ...]:
        found = [subject_part(replace(worker, price=None), {}) for worker in (then, now)]
        parts = [
            Part({**part.facts, **{name: worker.info.get(name) for name in ("threads", "cpus", "device_name")}})
            for part, worker in zip(found, (then, now), strict=True)
        ]
        return parts[0].differences(parts[1])


def _uid(run: str, uid: str) -> str:
    """The same in every process, so that a start that two of them tell of is counted once; of two runs, two."""
    return uid if uid.startswith("resumed-") else f"resumed-{run[-6:]}-{uid}"


class EarlierAnswers:
    """The answers of a run to benchmark tasks; false where it has none."""

    def __init__(self, shelf: Shelf) -> None:
        """:param shelf: its records."""
        self.run = ""
        """Name of the run."""
        self._shelf = shelf
        self._workers: dict[str, WorkerRecord] = {}
        self._batches: dict[tuple[str, str], list[tuple[int, Place]]] = {}
        """Model and task -> attempt and place of its batches."""
        self._uncounted: dict[tuple[str, str], list[tuple[int, Place]]] = {}

    def take(self, record: LogRecord, place: Place) -> None:
        """Note one of its records."""
        if isinstance(record, WorkerRecord):
            self._workers[record.uid] = record
        elif isinstance(record, QuestionsRecord) and record.origin == "measured":
            self._batches.setdefault((record.model, record.task.name), []).append((record.attempt, place))
        elif isinstance(record, AnswersRecord):
            self._uncounted.setdefault((record.model, record.task), []).append((record.attempt, place))

    def _last(self, places: Sequence[tuple[int, Place]], kind: type[R]) -> list[R]:
        """The batches of the last attempt.

        :raises NotReplayed: if one cannot be read any more.
        """
        last = max((attempt for attempt, _ in places), default=0)
        try:
            found = [self._shelf.get(place) for attempt, place in places if attempt == last]
        except StoreError as error:
            raise NotReplayed(str(error)) from error
        return [record for record in found if isinstance(record, kind)]

    def __bool__(self) -> bool:
        return bool(self._batches or self._uncounted)

    def __call__(self, cell: TaskCell, facts: TaskFacts, worker: WorkerRecord) -> tuple[str, list[QuestionsRecord]]:
        """The run and those of its batches that answer this task, each question once.

        :raises NotReplayed: if it has answers to this task and they are of another model, or to other questions.
        """
        kept: list[QuestionsRecord] = []
        seen: set[int] = set()
        for batch in self._last(self._batches.get((cell.model.alias, facts.name), []), QuestionsRecord):
            self._check(facts, batch, worker)
            if seen.isdisjoint(batch.index):
                seen.update(batch.index)
                kept.append(batch)
        return self.run, kept

    def uncounted(self, cell: TaskCell, worker: WorkerRecord) -> list[AnswersRecord]:
        """Answers to a task of lm-evaluation-harness, which counts at its end; of the last attempt.

        :raises NotReplayed: if they are of another model.
        """
        kept = self._last(self._uncounted.get((cell.model.alias, cell.test.name), []), AnswersRecord)
        for batch in kept:
            self._refuse(cell.test.name, self._of_model(batch, worker))
        return kept

    def check_uncounted(self, batch: AnswersRecord, index: int, prompt_sha256: str, questions: int) -> None:
        """See whether an answer is one to what is asked now.

        :raises NotReplayed: if it is not.
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
            raise NotReplayed(f"{self.run} answered {task} with {'; '.join(different)}")
