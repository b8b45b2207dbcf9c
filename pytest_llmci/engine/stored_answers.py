"""What an earlier run holds of what is asked for today: by cell, by call, by benchmark task.

Nothing is taken for something else: where prompt, settings or model have changed since, or outputs were withheld, it says so instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from sys import intern
from typing import Final

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
    RoundsRecord,
    TaskFacts,
    VerdictRecord,
    WorkerRecord,
)
from ..specs import is_same_model
from ..store.comparability import prompt_sha256
from ..store.shelf import Place, Shelf
from .answers import SAME, WORDS
from .reports.report import replayed_run
from .sampling import sample_seed
from .schedule import CellMeasurement, CellPlan, of_the_wall_clock
from .task_cell import TaskCell

_KINDS: Final = ("header", "worker", "rounds", "questions", "verdict")
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
        if then is not None and not is_same_in_log(then.spec, model):
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
        if then is not None and not is_same_in_log(then.spec, cell.model):
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


def is_same_in_log(then: ModelSpec, now: ModelSpec) -> bool:
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
