"""What a session takes over from an earlier run, so that it goes on where that was killed: ``--llmci-resume``.

A cell is taken over if that run measured and judged it to its end, without an error, and its key is the same: the machine, what was
asked and how it was measured, and the model that answered, which is loaded to be sure. Whatever else there is, a cell that is
missing, one that failed because a process died, or one whose key changed, is measured. A verdict is always made anew, by today's
checks and budgets.

Of benchmark tasks, whole batches of answers are taken, of the same model to the same questions in the same words: what an
uninterrupted session would have asked together is asked together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..errors import ConfigError, NotReplayed, StoreError
from ..records import Cell, Json, LogRecord, QuestionsRecord, RoundsRecord, TaskFacts, WorkerRecord
from ..registry import Registry
from ..store.comparability import Difference, Part, machine_part, subject_part
from ..store.log import LOG_NAME, SPOOL_NAME, LogReader, is_live, read_spool
from ..store.merged import environment_of
from .benchmark import TaskCell
from .earlier import EarlierCell
from .replay import MeasuredCell, StoredAnswers, look_of, plan_of
from .schedule import CellPlan

MEASURED_BY: Final = ("warmup", "isolation", "threads", "timing", "memory", "block", "batch")
"""Settings of a session that its numbers depend on and that no line of a cell tells."""
_OWN: Final = "pytest_llmci."
_OF_USERS: Final = "py"
"""Ours, but what it runs is the user's code."""
_SAME = ("questions_sha256", "prompt_sha256", "metrics", "shots")
_WORDS = {
    "questions_sha256": "other questions (a limit, another file, or changed rows)",
    "prompt_sha256": "another prompt",
    "metrics": "other metrics",
    "shots": "another number of examples",
}


class EarlierRun:
    """A run folder, of a run that was killed or finished."""

    def __init__(self, folder: Path, origin: str, registry: Registry, here: Mapping[str, Json]) -> None:
        """:param origin: the option, for messages.
        :param here: facts of this session's machine and checkout.
        :raises ConfigError: if the run holds nothing to take over, is still running, or cannot be read.
        """
        self.folder = folder
        self._registry = registry
        self._here = here
        self._settings: Mapping[str, Json] = {}
        try:
            if is_live(folder / LOG_NAME):
                raise ConfigError(f"{origin}: the session of {folder.name} is still running; wait until it has ended.")
            records = list(_records(folder))
            self._stored = StoredAnswers(folder, records)
        except StoreError as error:
            raise ConfigError(f"{origin}: {error}") from error
        except ConfigError as error:
            raise ConfigError(str(error) if str(error).startswith(origin) else f"{origin}: {error}") from error
        self.run = self._stored.run_id
        self.answers = EarlierAnswers(self.run, records)
        """To benchmark tasks."""
        if not self.answers and not any(isinstance(record, RoundsRecord) for record in records):
            raise ConfigError(f"{origin}: {self.run} holds no answer; name another run, or leave {origin} away.")

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
        verdict = self._stored.verdict(test, cell.id)
        if verdict is None:
            raise NotReplayed("")
        if verdict.error is not None:
            raise NotReplayed(f"it ended in an error in run {self.run}: {verdict.error.kind}")
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
        there = environment_of(header, cell.model.alias)
        if different := machine_part(there).differences(machine_part(self._here)):
            return f"run {self.run} was measured on another machine: {different[0]}"
        for name in MEASURED_BY:
            if name in header.settings and header.settings[name] != self._settings.get(name):
                return f"run {self.run} was measured otherwise: {Difference(name, header.settings[name], self._settings.get(name))}"
        if self._runs_users_code(cell):
            return self._other_code(there)
        return ""

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

    def __init__(self, run: str, records: list[LogRecord]) -> None:
        """:param records: of its log."""
        self.run = run
        self._workers: dict[str, WorkerRecord] = {}
        self._batches: dict[tuple[str, str], dict[str, QuestionsRecord]] = {}
        for record in records:
            if isinstance(record, WorkerRecord):
                self._workers[record.uid] = record
            elif isinstance(record, QuestionsRecord) and record.origin == "measured":
                self._batches.setdefault((record.model, record.task.name), {})[record.uid] = record

    def __bool__(self) -> bool:
        return bool(self._batches)

    def __call__(self, cell: TaskCell, facts: TaskFacts, worker: WorkerRecord) -> tuple[str, list[QuestionsRecord]]:
        """The run and those of its batches that answer this task, each question once.

        :raises NotReplayed: if it has answers to this task and they are of another model, or to other questions.
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

    def _check(self, facts: TaskFacts, batch: QuestionsRecord, worker: WorkerRecord) -> None:
        different = [_WORDS[name] for name in _SAME if getattr(batch.task, name) != getattr(facts, name)]
        earlier = self._workers.get(batch.worker)
        if earlier is None:
            different.append("a process that the log does not tell of")
        else:
            different += map(str, subject_part(earlier, {}).differences(subject_part(worker, {})))
        if batch.outputs_withheld:
            different.append("answers whose text was withheld")
        if different:
            raise NotReplayed(f"{self.run} answered {facts.name} with {'; '.join(different)}")


def _records(folder: Path) -> Iterator[LogRecord]:
    """Of the log, up to its last whole line, and of what parallel workers had recorded and not handed over."""
    yield from LogReader(folder / LOG_NAME)
    for spool in sorted((folder / SPOOL_NAME).glob("*.jsonl")):
        yield from read_spool(spool)
