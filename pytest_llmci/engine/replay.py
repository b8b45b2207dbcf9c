"""Judges checks and budgets again on what an earlier run stored: ``--llmci-replay RUN``. No model is loaded.

What was asked comes from the run; what is asserted is today's. Nothing is judged silently on something else: a cell whose prompt,
settings or model have changed since, or whose outputs were withheld, is not replayed, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from sys import intern
from typing import Any, Final, NoReturn, TypeVar

from ..errors import ConfigError, NotReplayed, StoreError
from ..prompts.fit import refilled
from ..records import (
    Cell,
    ErrorInfo,
    GenerationSettings,
    HeaderRecord,
    LogRecord,
    ModelSpec,
    Prompt,
    QuestionsRecord,
    Role,
    RoundsRecord,
    TaskFacts,
    VerdictRecord,
    WorkerRecord,
)
from ..runner.worker import ModelWorker
from ..settings import Settings, Sourced
from ..specs import is_same_model
from ..store.comparability import prompt_sha256
from ..store.shelf import Place, Shelf
from .answers import SAME, WORDS
from .benchmark import TaskMeasurement, facts_of
from .reports.report import replayed_run
from .sampling import sample_seed
from .schedule import CellMeasurement, CellPlan, of_the_wall_clock
from .session import BenchSession, StartedProfile, single_call
from .task_cell import TaskCell
from .turns import Request

T = TypeVar("T")
REPLAYS: Final = "replays"
"""Folder among the runs in which replays are kept, so that no command takes one for the latest run."""
MOST_NAMED: Final = 3
_KINDS: Final = ("header", "worker", "rounds", "questions", "verdict")
_ASKED: Final = (
    "models", "prompts", "suites", "tasks", "task_data", "limit", "rounds",
    "max_rounds", "warmup", "block", "max_new_tokens", "seed", "temperature", "samples",
    "min_pass_rate",
)  # fmt: skip
"""Fields of the settings that say what was asked: those of the run hold where the session does not say."""
_SOURCED: Final = ("models", "prompts", "tasks")
_OPTION_OF: Final = {"suites": "suite", "tasks": "suite"}
_COMPARING: Final = ("versus", "baseline", "save_baseline", "update_baseline")
_WITHHELD: Final = {"redacted": "withheld (--llmci-redact)", "masked": "not whole: a secret in them was masked"}
_SECRET: Final = "[secret"
CallKey = tuple[str, str, GenerationSettings]


@dataclass(slots=True)
class MeasuredCell:
    """One cell as one test of the run measured it; of its last attempt."""

    measured: list[RoundsRecord] = field(default_factory=list)
    memory: list[RoundsRecord] = field(default_factory=list)
    samples: list[RoundsRecord] = field(default_factory=list)

    @property
    def blocks(self) -> Iterator[RoundsRecord]:
        yield from self.measured
        yield from self.samples
        yield from self.memory


@dataclass(slots=True)
class _Kept:
    """Where the last attempt at a cell lies."""

    attempt: int = 0
    places: list[tuple[str, Place]] = field(default_factory=list)
    """Origin of each block, and its place."""

    def take(self, block: RoundsRecord, place: Place) -> None:
        if block.attempt > self.attempt:
            self.attempt, self.places = block.attempt, []
        if block.attempt == self.attempt:
            self.places.append((intern(block.origin), place))


class StoredAnswers:
    """What a run holds, by cell. It keeps places; what is asked for is read again."""

    def __init__(
        self, folder: Path, shelf: Shelf | None = None, also: Callable[[LogRecord, Place], None] | None = None
    ) -> None:
        """Read a run folder's log.

        :param shelf: its records; those of the log if None.
        :param also: gets each of them once, too.
        :raises ConfigError: if it is a replay itself, or another tool measured it.
        :raises StoreError: if the log cannot be read, or is not what was written.
        """
        self.folder = folder
        header: HeaderRecord | None = None
        self.workers: dict[str, WorkerRecord] = {}
        self._shelf = shelf or Shelf(folder, _KINDS)
        self._cells: dict[str, dict[str, _Kept]] = {}
        """Cell -> test -> what it measured."""
        self._calls: dict[CallKey, dict[str, list[Place]]] = {}
        self._by_prompt: dict[tuple[str, str], list[Place]] | None = None
        """Model and prompt -> its blocks; None until somebody asks."""
        self._questions: dict[str, list[tuple[int, Place]]] = {}
        """Cell of a benchmark task -> attempt and place of its batches."""
        self._judged: dict[str, dict[str, ErrorInfo | None]] = {}
        """Cell -> test -> what it ended with; the last test last."""
        self._late: dict[str, dict[str, float]] = {}
        self.blocks = 0
        """Blocks of rounds."""
        seen: set[int] = set()
        for record, place in self._shelf:
            name = getattr(record, "uid", "")
            uid = hash(name)  # 64 bits of it: two of 30,000 are equal once in 10^10 runs
            if uid in seen:
                continue
            if name:  # header and footer have none
                seen.add(uid)
            if also is not None:
                also(record, place)
            if isinstance(record, HeaderRecord):
                header = record
                _refuse_run(record)
            elif isinstance(record, WorkerRecord):
                self.workers[record.uid] = record
            elif isinstance(record, VerdictRecord):
                by_test = self._judged.setdefault(intern(record.cell), {})
                by_test.pop(record.test, None)
                by_test[intern(record.test)] = record.error
            elif isinstance(record, RoundsRecord):
                self._take(record, place)
            elif isinstance(record, QuestionsRecord) and record.origin == "measured":
                self._questions.setdefault(record.cell, []).append((record.attempt, place))
        if header is None:
            raise ConfigError(f"run {folder.name} has no header: nothing of it can be replayed.")
        self.header: HeaderRecord = header

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self.header.run_id

    def _take(self, block: RoundsRecord, place: Place) -> None:
        self.blocks += 1
        if block.worker_values:
            self._late.setdefault(block.worker, {}).update(block.worker_values)
        if block.origin == "call":
            key = (block.model, block.prompt_sha256, block.generation)
            self._calls.setdefault(key, {}).setdefault(intern(block.test), []).append(place)
        elif block.origin != "reference":
            self._cells.setdefault(intern(block.cell), {}).setdefault(intern(block.test), _Kept()).take(block, place)

    def _block(self, place: Place) -> RoundsRecord:
        """:raises NotReplayed: if it cannot be read any more."""
        record = self._get(place)
        assert isinstance(record, RoundsRecord)  # it was when it was seen
        return record

    def _get(self, place: Place) -> LogRecord:
        try:
            return self._shelf.get(place)
        except StoreError as error:
            raise NotReplayed(str(error)) from error

    def _measured(self, kept: _Kept) -> MeasuredCell:
        found = MeasuredCell()
        lists = {"measured": found.measured, "memory": found.memory, "sample": found.samples}
        for origin, place in kept.places:
            lists[origin].append(self._block(place))
        return found

    def _asked(self, model: str, prompt_id: str) -> list[RoundsRecord]:
        """Every block of a model and a prompt, cells before calls."""
        if self._by_prompt is None:
            self._by_prompt = {}
            of_cells = (
                place for by_test in self._cells.values() for kept in by_test.values() for _, place in kept.places
            )
            of_calls = (place for by_test in self._calls.values() for places in by_test.values() for place in places)
            for place in (*of_cells, *of_calls):
                block = self._block(place)
                self._by_prompt.setdefault((intern(block.model), intern(block.prompt_id)), []).append(place)
        return [self._block(place) for place in self._by_prompt.get((model, prompt_id), ())]

    def closed(self, spec: ModelSpec, prompt: Prompt) -> Prompt:
        """The prompt as the model was asked it: one whose length in tokens is open gets the text that the run holds.

        :raises NotReplayed: if the run holds none that this prompt becomes.
        """
        if not prompt.is_open:
            return prompt
        asked = self._asked(spec.alias, prompt.id)
        for block in asked:
            if not block.prompt_withheld and (found := refilled(prompt, block.prompt, block.messages)):
                return found
        cell = f"{spec.alias}-{prompt.id}"
        if not asked:
            raise NotReplayed(f"run {self.run_id} has no cell {cell}")
        if withheld := next((_WITHHELD[block.prompt_withheld] for block in asked if block.prompt_withheld), ""):
            raise NotReplayed(f"{cell}: its prompt in run {self.run_id} is {withheld}")
        raise NotReplayed(f"{cell}: its prompt has changed since run {self.run_id}")

    def cell(self, test: str, cell: Cell, plan: CellPlan) -> MeasuredCell:
        """What was measured of a cell: by that test, else by another that asked the same.

        :raises NotReplayed: if there is nothing, or it is not what is asked for today.
        """
        by_test = self._cells.get(cell.id, {})
        whys = []
        for name in sorted(by_test, key=lambda name: name != test):
            found = self._measured(by_test[name])
            if not (why := self._why_not(found, cell, plan)):
                return found
            whys.append(why)
        if whys:
            raise NotReplayed(f"{cell.id}: {whys[0]}")
        if cell.id in self._judged:
            raise NotReplayed(f"{cell.id}: run {self.run_id} did not measure it")
        raise NotReplayed(f"run {self.run_id} has no cell {cell.id}")

    def _why_not(self, stored: MeasuredCell, cell: Cell, plan: CellPlan) -> str:
        first = next(stored.blocks)
        if why := self._why_not_same(first, cell.model, cell.prompt):
            return why
        if not stored.measured:
            return f"run {self.run_id} holds no round of it"
        if told := _changed(stored.measured[0].generation, plan.generation):
            return f"it was asked with other settings in run {self.run_id}: {told}"
        withheld = next((_why_withheld(block) for block in stored.blocks if _why_withheld(block)), "")
        if withheld:
            return f"its outputs in run {self.run_id} are {withheld}"
        return self._why_not_samples(stored, plan)

    def _why_not_same(self, block: RoundsRecord, model: ModelSpec, prompt: Prompt) -> str:
        """Why a block is not of that model and prompt; empty if it is."""
        then = self.workers.get(block.worker) or self.worker(model.alias)
        if then is not None and not _is_same(then.spec, model):
            return f"'{model.alias}' was another model in run {self.run_id}: {then.spec.text}, now {model.text}"
        if block.prompt_sha256 != prompt_sha256(prompt):
            return f"its prompt has changed since run {self.run_id} (sha256 {block.prompt_sha256[:8]}, now {prompt_sha256(prompt)[:8]})"
        return ""

    def _why_not_samples(self, stored: MeasuredCell, plan: CellPlan) -> str:
        if not plan.samples or any(block.error for block in stored.blocks):
            return ""
        if not stored.samples:
            return f"run {self.run_id} holds no samples of it"
        for number, block in enumerate(stored.samples):
            wanted = replace(plan.generation, seed=sample_seed(plan.generation.seed, number))
            if told := _changed(block.generation, wanted):
                return f"it was sampled with other settings in run {self.run_id}: {told}"
        return ""

    def task(self, cell: TaskCell, facts: TaskFacts | None) -> tuple[list[QuestionsRecord], ErrorInfo | None]:
        """The answers to a benchmark task, and what it failed with; of its last attempt.

        :param facts: what is asked today; None where lm-evaluation-harness knows.
        :raises NotReplayed: if there is nothing, or something else was asked.
        """
        places, by_test = self._questions.get(cell.id, []), self._judged.get(cell.id, {})
        last = max((attempt for attempt, _ in places), default=0)
        found = [self._get(place) for attempt, place in places if attempt == last]
        batches = [batch for batch in found if isinstance(batch, QuestionsRecord)]
        error = next(reversed(by_test.values()), None)
        if not batches and error is None:
            raise NotReplayed(f"run {self.run_id} holds no answers of {cell.model.alias} to {cell.test.name}")
        then = self.workers.get(batches[0].worker) if batches else self.worker(cell.model.alias)
        if then is not None and not _is_same(then.spec, cell.model):
            raise NotReplayed(
                f"{cell.id}: '{cell.model.alias}' was another model in run {self.run_id}: {then.spec.text}, now {cell.model.text}"
            )
        if batches and (different := self._other_questions(batches[0].task, cell, facts)):
            raise NotReplayed(f"{cell.id}: run {self.run_id} asked {'; '.join(different)}")
        return batches, error

    def _other_questions(self, then: TaskFacts, cell: TaskCell, facts: TaskFacts | None) -> list[str]:
        if facts is not None:
            return [WORDS[name] for name in SAME if getattr(then, name) != getattr(facts, name)]
        limit = self.header.settings.get("limit")
        different = [WORDS["questions_sha256"]] if limit != cell.test.limit else []
        return different + ([WORDS["shots"]] if cell.test.shots not in (None, then.shots) else [])

    def measured_by(self, test: str, cell: Cell, plan: CellPlan) -> MeasuredCell:
        """What was measured of a cell by that test and no other.

        :raises NotReplayed: if there is nothing, or it is not what is asked for today.
        """
        kept = self._cells.get(cell.id, {}).get(test)
        if kept is None:
            raise NotReplayed(f"run {self.run_id} holds no round of it")
        stored = self._measured(kept)
        if why := self._why_not(stored, cell, plan):
            raise NotReplayed(why)
        return stored

    def judged(self, test: str, cell: str) -> bool:
        """Whether that test decided on the cell; False where it did not come so far."""
        return test in self._judged.get(cell, {})

    def error(self, test: str, cell: str) -> ErrorInfo | None:
        """What the cell failed with at last; None where it did not, or was not judged."""
        return self._judged.get(cell, {}).get(test)

    def worker(self, alias: str) -> WorkerRecord | None:
        """The model's latest start that was whole, else its latest."""
        own = [each for each in self.workers.values() if each.model == alias and each.role == "timing"]
        return next((each for each in reversed(own) if each.error is None), own[-1] if own else None)

    def values(self, worker: WorkerRecord) -> dict[str, float]:
        """What is known of a process: of its start, and what its blocks made known."""
        return {**worker.values, **self._late.get(worker.uid, {})}

    def call(
        self, test: str, spec: ModelSpec, prompt: Prompt, generation: GenerationSettings, number: int
    ) -> RoundsRecord:
        """The answer of a single call.

        :param number: how many calls of that kind the test has made before; after the last one that is stored, that one again.
        :raises NotReplayed: if there is none.
        """
        found = self._calls.get((spec.alias, prompt_sha256(prompt), generation))
        if not found:
            raise NotReplayed(f"llm.generate: {self._why_no_call(spec, prompt, generation)}")
        of_test = found.get(test) or next(iter(found.values()))
        block = self._block(of_test[min(number, len(of_test) - 1)])
        if why := self._why_not_same(block, spec, prompt) or _why_withheld(block):
            raise NotReplayed(f"llm.generate: {prompt.id}: {why}")
        return block

    def _why_no_call(self, spec: ModelSpec, prompt: Prompt, generation: GenerationSettings) -> str:
        digest = prompt_sha256(prompt)
        for alias, other, settings in self._calls:
            if (alias, other) == (spec.alias, digest):
                return f"run {self.run_id} holds the prompt {prompt.id} with other settings: {_changed(settings, generation)}"
        return f"run {self.run_id} holds no answer of {spec.alias} to the prompt {prompt.id}"


def _refuse_run(header: HeaderRecord) -> None:
    provenance = header.settings.get("provenance")
    if provenance == "replayed":
        raise ConfigError(
            f"run {header.run_id} is a replay itself: give the run that was measured, {replayed_run(header.settings)}."
        )
    if provenance == "imported":
        raise ConfigError(
            f"run {header.run_id} was measured by another tool: there are no outputs of ours to be judged again."
        )


def _why_withheld(block: RoundsRecord) -> str:
    return next((_WITHHELD[why] for why in block.outputs_withheld if why), "")


def _is_same(then: ModelSpec, now: ModelSpec) -> bool:
    """Whether the model is the same, as far as the log tells: secrets in its options were masked."""
    hidden = {key for key, value in then.options.items() if _SECRET in value}
    if _SECRET in then.target:
        return then.backend == now.backend
    first, second = (
        replace(spec, options={k: v for k, v in spec.options.items() if k not in hidden}) for spec in (then, now)
    )
    return is_same_model(first, second)


def _changed(then: GenerationSettings, now: GenerationSettings) -> str:
    """What differs, as ``max_new_tokens 50, now 64``; empty if nothing."""
    pairs = ((entry.name, getattr(then, entry.name), getattr(now, entry.name)) for entry in fields(GenerationSettings))
    return "; ".join(f"{name} {before}, now {after}" for name, before, after in pairs if before != after)


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
        if found is None or not _is_same(found.spec, spec):
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


def plan_of(stored: MeasuredCell, plan: CellPlan) -> CellPlan:
    """The plan as the run carried it out."""
    plan = replace(plan, memory_rounds=plan.memory_rounds if stored.memory else 0)
    if stored.measured[0].pair is None:
        return plan
    done = sum(block.n for block in stored.measured if block.error is None)
    return replace(
        plan, rounds=max(done, plan.rounds), max_rounds=max(done, plan.max_rounds)
    )  # alternated with a reference


def look_of(stored: MeasuredCell, plan: CellPlan) -> int:
    """Which look at the growing sample the run ended with, from 1: each added block is one, but not the rounds measured again."""
    whole = [block for block in stored.measured if block.error is None]
    if not whole or stored.measured[0].pair is not None:
        return 1
    added = len(whole) - 1
    timed = any(budget.statistical and of_the_wall_clock(budget.metric) for budget in plan.budgets)
    if added and timed:
        first = CellMeasurement(cell=_NO_CELL, plan=plan, blocks=whole[:1])
        added -= whole[1].n == min(sum(first.contaminated), plan.max_rounds - first.rounds)
    return min(1 + added, plan.looks)


_NO_CELL: Final = Cell(id="-", model=ModelSpec(alias="-", backend="-"), prompt=Prompt(id="-", text=""))


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
