"""Judges checks and budgets again on what an earlier run stored: ``--llmci-replay RUN``. No model is loaded.

What was asked comes from the run; what is asserted is today's. Nothing is judged silently on something else: a cell whose prompt,
settings or model have changed since, or whose outputs were withheld, is not replayed, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from ..errors import ConfigError, NotReplayed
from ..records import (
    Cell,
    ErrorInfo,
    GenerationSettings,
    ModelSpec,
    Prompt,
    QuestionsRecord,
    Role,
    RoundsRecord,
    WorkerRecord,
)
from ..runner.model_worker import ModelWorker
from ..settings import Settings, Sourced
from ..store.comparability import prompt_sha256
from .benchmark import TaskMeasurement, facts_of
from .schedule import CellMeasurement, CellPlan
from .session import BenchSession, StartedProfile, single_call
from .stored_answers import CallKey, StoredAnswers, is_same_in_log, look_of, plan_of
from .task_cell import TaskCell
from .turns import Request

T = TypeVar("T")
REPLAYS: Final = "replays"
"""Folder among the runs in which replays are kept, so that no command takes one for the latest run."""
MOST_NAMED: Final = 3
_ASKED: Final = (
    "models", "prompts", "suites", "tasks", "task_data", "limit", "rounds",
    "max_rounds", "warmup", "block", "max_new_tokens", "seed", "temperature", "samples",
    "min_pass_rate",
)  # fmt: skip
"""Fields of the settings that say what was asked: those of the run hold where the session does not say."""
_SOURCED: Final = ("models", "prompts", "tasks")
_OPTION_OF: Final = {"suites": "suite", "tasks": "suite"}
_COMPARING: Final = ("versus", "baseline", "save_baseline", "update_baseline")


# ------------------------------------------------------------------------------------------------------------ settings


def adopt(settings: Settings, run: StoredAnswers, *, suite: bool) -> Settings:
    """The settings of a replay: what was asked is taken from the run where the session does not say, nothing is compared.

    :param suite: whether a suite of the run is taken over, too.
    :raises ConfigError: if a comparison, a baseline or a run to go on with was asked for on purpose: those are for live numbers.
    """
    for name in _COMPARING:
        origin = settings.origins.get(name, "")
        if origin and ": " not in origin:  # a flag or a variable; files are for all sessions
            raise ConfigError(
                f"{origin}: replayed numbers are no measurement: they are compared with nothing and become no baseline; take"
                f" {origin} or --llmci-replay away."
            )
    resumed = settings.origins.get("resume", "")
    if resumed and ": " not in resumed:
        raise ConfigError(
            f"{resumed}: a replay measures nothing that could be gone on with; take {resumed} or --llmci-replay away."
        )
    then = run.header.settings
    origins_then = then.get("origins")
    taken: dict[str, Any] = {}
    origins = dict(settings.origins)
    for name in _ASKED:
        option = _OPTION_OF.get(name, name)
        if option in settings.origins or name not in then or (option == "suite" and not suite):
            continue
        origin = str(origins_then.get(option) or "") if isinstance(origins_then, dict) else ""
        taken[name] = _as_setting(name, then[name], origin or "--llmci-replay")
        if origin:
            origins[option] = origin
    return replace(
        settings, **taken, versus=(), baseline=(), save_baseline="", update_baseline="", resume="",
        output=settings.output / REPLAYS, origins=origins,
    )  # fmt: skip


def _as_setting(name: str, value: Any, origin: str) -> Any:
    if name == "task_data" and isinstance(value, str):
        return Path(value)
    if not isinstance(value, list):
        return value
    return tuple(Sourced(str(text), origin) if name in _SOURCED else str(text) for text in value)


# ------------------------------------------------------------------------------------------------------------- session


class ReplaySession(BenchSession):
    """A session that is answered from a run."""

    def __init__(self, run: StoredAnswers, *arguments: Any, **named: Any) -> None:
        """:param run: what there is; the rest is :class:`BenchSession`'s."""
        super().__init__(*arguments, **named)
        self._run_stored = run
        self._told: set[str] = set()
        self._asked: dict[tuple[str, int, CallKey], int] = {}

    def measure(self, cell: Cell, plan: CellPlan) -> CellMeasurement:
        """The stored rounds of a cell.

        :raises NotReplayed: if the run does not hold what is asked for.
        """
        cell = replace(cell, prompt=self._run_stored.closed(cell.model, cell.prompt))
        stored = self._run_stored.cell(self.test.id, cell, plan)
        first = stored.measured[0]
        measurement = CellMeasurement(cell=cell, plan=plan, provenance="replayed")
        measurement.blocks = self._emitted(stored.measured)
        measurement.memory_blocks = self._emitted(stored.memory)
        if plan.samples:
            measurement.sample_blocks = self._emitted(stored.samples)
            measurement.samples_short = f"run {self._run_stored.run_id} holds no more"
        measurement.error = next((block.error for block in (*stored.measured, *stored.samples) if block.error), None)
        measurement.memory_error = next((block.error for block in stored.memory if block.error), None)
        worker = self._run_stored.workers.get(first.worker)
        if worker is not None:
            measurement.worker = worker
            measurement.worker_values = self._run_stored.values(worker)
            measurement.worker_reasons = worker.reasons
        measurement.plan = plan_of(stored, plan)
        measurement.look = look_of(stored, measurement.plan)
        return measurement

    def _emitted(self, blocks: Iterable[RoundsRecord]) -> list[RoundsRecord]:
        """The blocks as records of this session."""
        found = []
        for block in blocks:
            self._tell_start(block.worker)
            record = replace(
                block, uid=self.new_uid(), test=self.test.id, attempt=self.test.attempt, provenance="replayed",
                worker=_replayed_uid(block.worker),
            )  # fmt: skip
            self.recorder.take_over(record)
            found.append(record)
        return found

    def _tell_start(self, uid: str) -> None:
        worker = self._run_stored.workers.get(uid)
        if worker is not None and uid not in self._told:
            self._told.add(uid)
            self.recorder.emit(replace(worker, uid=_replayed_uid(uid), provenance="replayed"))

    def call_once(
        self, model: ModelSpec, prompt: Prompt, generation: GenerationSettings, checks: tuple[str, ...],
        turn: Request | None = None,
    ) -> CellMeasurement:  # fmt: skip
        """The stored answer of a single call, checked again.

        :raises NotReplayed: if the run holds none.
        """
        test, prompt = self.test, self.fit(model, prompt)
        key = (test.id, test.attempt, (model.alias, prompt_sha256(prompt), generation))
        number = self._asked.get(key, 0)
        block = self._run_stored.call(test.id, model, prompt, generation, number)
        self._asked[key] = number + 1
        measurement = single_call(model, prompt, generation, checks)
        measurement.provenance = "replayed"
        measurement.error = block.error
        measurement.blocks = self._emitted([block])
        test.calls.append(measurement)
        test.asked[measurement.cell.id] = measurement.cell
        test.answers += 1
        return measurement

    def ask(
        self,
        spec: ModelSpec,
        request: Callable[[ModelWorker], T],
        about: Prompt,
        turn: Request | None = None,
        role: Role = "timing",
    ) -> T:
        """Nothing: what is no stored answer needs the model.

        :raises NotReplayed: always.
        """
        _refuse(f"llm.{about.id.partition('-')[0]}", self._run_stored)

    def fit(self, model: ModelSpec, prompt: Prompt) -> Prompt:
        """The prompt as the run's model was asked it.

        :raises NotReplayed: if the run does not hold it.
        """
        return self._run_stored.closed(model, prompt)

    def replay_questions(self, record: QuestionsRecord) -> QuestionsRecord:
        """A batch of answers of the run as a record of this session."""
        self._tell_start(record.worker)
        return self.record_questions(
            replace(
                record, uid=self.new_uid(), test=self.test.id, attempt=self.test.attempt, worker=_replayed_uid(record.worker),
                provenance="replayed",
            )
        )  # fmt: skip

    def load(self, spec: ModelSpec) -> WorkerRecord:
        """The model's start in the run.

        :raises NotReplayed: if the run has none.
        """
        found = self._run_stored.worker(spec.alias)
        if found is None or not is_same_in_log(found.spec, spec):
            raise NotReplayed(f"llm.info: run {self._run_stored.run_id} never started {spec.alias} ({spec.text})")
        return found

    def profile_start(self, spec: ModelSpec) -> StartedProfile:
        """:raises NotReplayed: always."""
        _refuse("llm.profile", self._run_stored)

    def note_benchmark(self, tool: str, round_s: Any, iterations: int, *, group: str, reason: str) -> None:
        """What another tool measures around stored answers is nobody's time."""

    def why_contended(self) -> str:
        """What is said of a block beside which, by the run, other work may have run."""
        return "other timed work may have run at the same time in the run that is replayed"


class ReplayedTasks:
    """Benchmark tasks, answered from a run."""

    def __init__(self, session: ReplaySession, run: StoredAnswers) -> None:
        self._session, self._run = session, run

    def measure(self, cell: TaskCell) -> TaskMeasurement:
        """The stored answers to a task; faults of its file are held in the result and not raised.

        :raises NotReplayed: if the run does not hold what is asked for.
        """
        measurement = TaskMeasurement(cell=cell, provenance="replayed")
        try:
            facts = None if cell.test.harness else facts_of(cell.test.load(), cell.test.suite)
        except ConfigError as error:
            measurement.error = ErrorInfo(kind="data", message=str(error))
            return measurement
        records, measurement.error = self._run.task(cell, facts)
        for record in records:
            measurement.answers.take(self._session.replay_questions(record))
        return measurement


def _refuse(what: str, run: StoredAnswers) -> NoReturn:
    raise NotReplayed(f"{what} needs the model, and run {run.run_id} is replayed without one (--llmci-replay)")


def _replayed_uid(uid: str) -> str:
    """The same in every process, so that a start that two of them tell of is counted once."""
    return f"replayed-{uid}" if uid else ""


def told(reasons: Mapping[str, int], run_id: str) -> list[str]:
    """Lines about tests that were not replayed.

    :param reasons: why -> how many tests.
    """
    count = sum(reasons.values())
    lines = [f"{count} test{'' if count == 1 else 's'} not replayed, as run {run_id} does not hold what is asked for:"]
    lines += [
        f"  {why}" + (f" ({number} tests)" if number > 1 else "") for why, number in list(reasons.items())[:MOST_NAMED]
    ]
    more = len(reasons) - MOST_NAMED
    return [*lines, *([f"  ... and {more} more; -rs lists them"] if more > 0 else [])] if count else []
