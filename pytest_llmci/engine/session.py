"""The whole session without pytest: what the plugin and the CLI adapt."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from ..checks.base import CheckInput, Services
from ..clock import Clock, utc_text
from ..cost.chosen import ChosenPrices, add_cost
from ..errors import LLMCIError, NotReplayed, WorkerCrashed, WorkerError
from ..matrix import cell_id
from ..measure.memory import GROWTH
from ..measure.profile import Measured
from ..metrics import MetricDef
from ..prompts.asked import prompt_of
from ..prompts.fit import fitted
from ..records import (
    TEST_BODY,
    AnswersRecord,
    BenchmarkRecord,
    Cell,
    ErrorInfo,
    Fill,
    GenerationSettings,
    LogRecord,
    ModelSpec,
    Prompt,
    QuestionsRecord,
    Role,
    RoundRecord,
    RoundsRecord,
    RunRequest,
    VerdictRecord,
    WorkerRecord,
)
from ..redaction import Redactor
from ..registry import Registry
from ..runner.token_counts import tokens_of
from ..runner.worker import Limits, ModelWorker, WorkerSetup
from ..secrets import Secrets
from ..settings import Settings
from ..stats.looks import SESSION_ALPHA
from ..text import one_line
from .against import Against, Entry
from .against_baseline import BaselineRules, against_baselines
from .batched import BatchedAnswers, counted_round, may_be_batched
from .benchmark import TaskMeasurement, task_verdict
from .blocks import (
    Origin,
    block_record,
    failed_in_memory_pass,
    failed_in_sample,
    learnt,
    of_memory_alone,
    without_times,
)
from .comparison import Rules, counted
from .earlier import Earlier, EarlierCell
from .exclusive import MachineLock, lock_path
from .interleaved import Interleaved, Ports
from .judge import CONTENDED, Judge
from .limits import NEEDS_A_PROCESS, NO_MEMORY_PASS
from .model_gate import model_gate
from .observer import Observer
from .pool import LiveModel, Pool, error_info
from .sampling import sample_seed
from .schedule import CellMeasurement, CellPlan, Schedule
from .services import Known, LiveServices, OpenModel
from .turns import Request, Turns
from .under_load import judged_of, load_records

T = TypeVar("T")
NOT_ASKED_FOR: Final = "it is measured in a memory pass, which a budget on it or --llmci-memory=exact asks for"
CLOSING_PATIENCE_S: Final = 5.0
"""Longest wait at the end of the session for a request of another thread; its model's process is killed at once."""

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


@dataclass(slots=True)
class CurrentTest:
    """The test that is running, and what was recorded for it."""

    id: str
    attempt: int = 0
    calls: list[CellMeasurement] = field(default_factory=list)
    """Single inferences that the test's body asked for and that have ended."""
    asked: dict[str, Cell] = field(default_factory=dict)
    """The cells of all of them, by id."""
    answers: int = 0
    """How many there were."""

    def take_calls(self) -> list[CellMeasurement]:
        """What has ended since this was asked last."""
        taken, self.calls = self.calls, []  # at once: another thread may be adding one
        return taken


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedProfile:
    """Instruments that run in a model's process."""

    model: ModelSpec
    worker: ModelWorker
    number: int


@dataclass(slots=True)
class Uses:
    """What was asked for and leaves no record in the log; counted, so that the session is known to have done something."""

    profiles: int = 0
    """Blocks and functions that ran under the instruments."""
    requests: int = 0
    """Answers of a model that are no inference: ``llm.call``, ``llm.score``, ``llm.stream``, ``llm.info``."""


class BenchSession:
    """Measures cells, records what came of them, judges them."""

    def __init__(
        self, settings: Settings, registry: Registry, metrics: Mapping[str, MetricDef], *, clock: Clock, observer: Observer,
        emit: Callable[[LogRecord], None], log_folder: Path, sys_path: Sequence[str], process: str = "main",
        against: Against | None = None, baselines: BaselineRules | None = None, redactor: Redactor | None = None,
        prices: ChosenPrices | None = None,
        open_model: OpenModel | None = None, earlier: Earlier | None = None,
    ) -> None:  # fmt: skip
        """:param against: what every model is compared with, measured alternately with it.
        :param baselines: those whose stored numbers every model is compared with.
        :param open_model: finds the models that checks name; None: checks cannot ask models.
        :param earlier: a run that is gone on with: its cells are taken over where they are the same.
        :param redactor: takes out of the output of models' processes what must not be written; by default what looks secret.
        """
        self.settings = settings
        self.registry = registry
        self.metrics = metrics
        self.redactor = redactor or Redactor(Secrets(), redact=settings.redact)
        self._prices = prices
        self.judge = Judge(registry, self._why_contended, metrics, self._services(open_model))
        self.test = CurrentTest("")
        self.uses = Uses()
        self._blocks = 0
        """Blocks with a finished inference."""
        self._clock = clock
        self.observer = self._observer = observer
        self._emit = emit
        self._process = process
        self._serial = itertools.count(1)
        self._turns = Turns()
        self._lock = MachineLock(lock_path(), clock)
        self._began_ns = clock.now_ns()
        limits = Limits(
            inference_s=settings.timeout_s, load_s=settings.load_timeout_s, memory_bytes=settings.memory_limit_bytes
        )
        setup = WorkerSetup(
            registry=registry, limits=limits, cache_dir=str(user_cache_dir()), log_folder=log_folder, threads=settings.threads,
            sys_path=sys_path, say=observer.say, tick=self._tick, hide=self.redactor.text,
            keeps_logs=not settings.redact, anchor=settings.anchor,
        )  # fmt: skip
        self._against = against
        self._baselines = baselines
        self._compared: dict[str, CellMeasurement] = {}
        self._batched = BatchedAnswers()
        self._earlier = earlier
        self._told_starts: set[str] = set()
        """Processes of the earlier run that were told of."""
        self._fits: dict[tuple[str, str, Fill], Prompt] = {}
        """(Spec, prompt id, what was asked for) -> the prompt of that length."""
        self.pool = Pool(
            setup, settings.isolation, clock=clock, observer=observer, emit=emit, new_uid=self.new_uid,
            reference_setup=against.setup(setup) if against else None,
        )  # fmt: skip
        self.schedule = Schedule(
            self._measure_block, self._measure_memory, self.judge.undecided, self._out_of_time, sample=self._measure_sample,
            needs_sample=self.judge.needs_sample,
        )  # fmt: skip
        self._of_memory_pass = tuple(metric.name for metric in metrics.values() if metric.scope == "memory")

    def _services(self, open_model: OpenModel | None) -> Callable[[CheckInput], Services] | None:
        if open_model is None:
            return None
        known: Known = {}
        return lambda output: LiveServices(self, output, open_model, known)

    def take_uses(self) -> list[int]:
        """Profiles and requests since this was asked last."""
        uses, self.uses = self.uses, Uses()
        return [uses.profiles, uses.requests]

    @property
    def measured(self) -> int:
        """Blocks of inferences and profiles so far."""
        return self._blocks + self.uses.profiles

    def new_uid(self) -> str:
        """An identifier that no other record of the run has."""
        return f"{self._process}-{next(self._serial)}"

    def request(self) -> Request:
        """A request that can be withdrawn; for those who do not wait for the answer in their own thread."""
        return self._turns.request()

    def _tick(self) -> None:
        self._turns.check()
        self._observer.tick()

    # --------------------------------------------------------------------------------------------- measured under a plan

    def measure(self, cell: Cell, plan: CellPlan) -> CellMeasurement:
        """Measure a cell as its plan says; failures of the model are held in the result and not raised."""
        test, alias = self.test.id, cell.model.alias
        compares = self._against is not None or self._baselines is not None
        if not compares or test not in self.schedule.group(alias):
            found = self._find_earlier(test, cell, plan)
            if isinstance(found, EarlierCell):
                return self._take_over_cell(cell, found)
            return self.schedule.complete(CellMeasurement(cell=cell, plan=plan, not_resumed=found))
        if test not in self._compared:
            with self._observer.uncharged():
                self._measure_model(alias, plan.family)
        return self._compared[test]

    def _find_earlier(self, test: str, cell: Cell, plan: CellPlan) -> EarlierCell | str:
        """What the earlier run measured of the cell; else why that is not taken, empty where there is nothing to say."""
        if self._earlier is None:
            return ""
        try:
            cell = replace(cell, prompt=self.fit(cell.model, cell.prompt))
            return self._earlier.cell(test, cell, plan, lambda: self.load(cell.model))
        except NotReplayed as error:
            return str(error)
        except LLMCIError:
            return ""  # of the model, which will show it again when it is measured

    def _take_over_cell(self, cell: Cell, found: EarlierCell) -> CellMeasurement:
        """The rounds of an earlier run as this one's, labelled; they are judged anew."""
        measurement = CellMeasurement(
            cell=cell, plan=found.plan, provenance="resumed", resumed_from=found.run, look=found.look, worker=found.worker,
            worker_values=dict(found.worker_values), worker_reasons=found.worker.reasons,
        )  # fmt: skip
        for kept, blocks in (
            (measurement.blocks, found.measured),
            (measurement.memory_blocks, found.memory),
            (measurement.sample_blocks, found.samples),
        ):
            for block in blocks:
                start = found.starts.get(block.worker)
                if start is not None and start.uid not in self._told_starts:
                    self._told_starts.add(start.uid)
                    self._emit(start)
                record = replace(
                    block, uid=self.new_uid(), test=self.test.id, attempt=self.test.attempt, provenance="resumed",
                    resumed_from=block.resumed_from or found.run, worker=start.uid if start is not None else block.worker,
                )  # fmt: skip
                kept.append(record)
                self._blocks += bool(record.n)
                self._emit(record)
        self.schedule.note_done(cell)
        return measurement

    def _measure_model(self, alias: str, family: int) -> None:
        """Measure and compare all selected cells of a model, when the first of its tests asks: they are judged together."""
        asking = self.test
        group = {
            test: (cell, replace(plan, family=family)) for test, (cell, plan) in self.schedule.group(alias).items()
        }
        if self._against is not None:
            self._compare(self._against, alias, self._closed(group))
        carried = self._whole_model(group)
        try:
            for test, (cell, plan) in group.items():
                self.test = asking if test == asking.id else CurrentTest(test)
                if test in carried:
                    self._compared[test] = self._take_over_cell(cell, carried[test])
                    continue
                measurement = self._compared.setdefault(test, CellMeasurement(cell=cell, plan=plan))
                done = measurement.rounds
                measurement.plan = replace(plan, rounds=max(done, plan.rounds), max_rounds=max(done, plan.max_rounds))
                self.schedule.complete(measurement)
        finally:
            self.test = asking
        if self._baselines is not None:
            self._compare_stored(self._baselines, alias, group)

    def _whole_model(self, group: Mapping[str, tuple[Cell, CellPlan]]) -> dict[str, EarlierCell]:
        """All cells of a model from the earlier run, or none: the model is what is compared, and one session measures it."""
        if self._earlier is None or self._against is not None:
            return {}
        found: dict[str, EarlierCell] = {}
        for test, (cell, plan) in group.items():
            earlier = self._find_earlier(test, cell, plan)
            if not isinstance(earlier, EarlierCell):
                return {}
            found[test] = earlier
        return found

    def _closed(self, group: Mapping[str, tuple[Cell, CellPlan]]) -> dict[str, tuple[Cell, CellPlan]]:
        """The cells without open prompts, so that both sides are asked the same; what cannot be closed fails by itself later."""
        found = {}
        for test, (cell, plan) in group.items():
            try:
                found[test] = (replace(cell, prompt=self.fit(cell.model, cell.prompt)), plan)
            except LLMCIError as error:
                self._compared[test] = CellMeasurement(cell=cell, plan=plan, error=error_info(error))
        return found

    def _compare_stored(self, rules: BaselineRules, alias: str, group: Mapping[str, tuple[Cell, CellPlan]]) -> None:
        measured = [self._compared[test] for test in group]
        workers = {each.worker.uid: each.worker for each in measured if each.worker is not None}
        blocks = [block for each in measured for block in (*each.blocks, *each.memory_blocks)]
        verdicts = [self.judge.verdict(each, uid=f"-{number}", test=test, attempt=0)
                    for number, (test, each) in enumerate(zip(group, measured, strict=True))]  # fmt: skip
        found = against_baselines(
            [*workers.values(), *blocks, *verdicts],
            rules,
            self.metrics,
            started=utc_text(self._clock.utc()),
            apart={each.cell.id for each in measured if each.plan.expected_to_fail},
        )
        for each in measured:
            results = [] if each.error else found.cells.get(each.cell.id, [])
            each.stored_base = found.slower_than.get(each.cell.id)
            each.comparisons = [*each.comparisons, *results]
            each.against = each.against or ", ".join(baseline.name for baseline in rules.baselines)
        if found.model:
            cells = {each.cell.id: each.comparisons for each in measured}
            strict = self.settings.inconclusive == "fail"
            self._emit(
                model_gate(alias, found.model, found.model[0].against, self.new_uid(), cells, fail_undecided=strict)
            )

    def _compare(self, against: Against, alias: str, group: Mapping[str, tuple[Cell, CellPlan]]) -> None:
        """Cells under load are judged apart: what decides of them is something else."""
        entries = against.entries(group)
        kinds: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            kinds.setdefault(judged_of(entry.plan.load, self.settings.detect), []).append(entry)
        for judged, some in kinds.items():
            self._compare_entries(against, alias, some, judged)

    def _compare_entries(self, against: Against, alias: str, entries: Sequence[Entry], judged: tuple[str, ...]) -> None:
        """:param judged: what decides, of cells under load; empty for all others."""
        looks = max(-(-entry.plan.max_rounds // self.settings.block) for entry in entries)
        rules = Rules(
            against=against.name, alpha=SESSION_ALPHA * len(entries) / max(against.cells, len(entries)), looks=looks,
            detect={name: share for name, share in self.settings.detect.items() if name != GROWTH},
            on_cpu=not str(entries[0].cell.model.options.get("device", "cpu")).startswith(("cuda", "mps")),
            why_contended=self._why_contended(), counted=() if judged else counted(self.metrics),
            only=judged,
        )  # fmt: skip
        ports = Ports(
            pool=self.pool, clock=self._clock, observer=self._observer, emit=self._emit, keep=self._keep, new_uid=self.new_uid,
            turn=self._turns.request, undisturbed=self._undisturbed, out_of_time=self._out_of_time,
        )  # fmt: skip
        schedule = Interleaved(
            entries,
            rules,
            self.metrics,
            ports,
            block=self.settings.block,
            on_purpose=against.on_purpose.get(alias, ()),
            accepted=against.accepted,
            changed_files=against.changed_files,
            prove=against.prove,
            own_modules=against.own_modules,
            fail_undecided=self.settings.inconclusive == "fail",
        )
        self._compared.update(schedule.run())

    def note_benchmark(self, tool: str, round_s: Sequence[float], iterations: int, *, group: str, reason: str) -> None:
        """Record what another tool measured around the calls of the present test; nothing where its rounds asked no model.

        :param round_s: seconds of each round, divided by ``iterations``.
        :param reason: why there is none.
        """
        test = self.test
        if test.answers < max(1, len(round_s) * iterations):
            return
        models = dict.fromkeys(cell.model.alias for cell in test.asked.values())
        self._emit(
            BenchmarkRecord(
                uid=self.new_uid(), test=test.id, attempt=test.attempt, tool=tool, cells=[*test.asked], models=[*models],
                round_s=[*round_s], iterations=iterations, group=group, reason=reason,
            )
        )  # fmt: skip

    def conclude(self, measurement: CellMeasurement) -> VerdictRecord:
        """Judge a cell and record the verdict."""
        verdict = self.judge.verdict(measurement, uid=self.new_uid(), test=self.test.id, attempt=self.test.attempt)
        self._emit(verdict)
        return verdict

    def _measure_block(self, measurement: CellMeasurement, rounds: int) -> None:
        plan = measurement.plan
        done = measurement.rounds
        request = RunRequest(
            cell=measurement.cell.id, prompt=measurement.cell.prompt, generation=plan.generation, rounds=rounds,
            warmup=plan.warmup if not measurement.blocks else 0, first_round=done, load=plan.load, anchor_every=1,
        )  # fmt: skip
        with self._turns.request():
            if not self._answered_in_batch(measurement, request):
                self._run(measurement, request, "measured", max(plan.rounds, done + rounds), self.test)

    def _answered_in_batch(self, measurement: CellMeasurement, request: RunRequest) -> bool:
        """Record the answer of an untimed cell that was, or is now, asked together with others."""
        cell, size, test = measurement.cell, self.settings.batch, self.test
        group = self.schedule.group(cell.model.alias)
        if self._earlier is not None and size is not None:
            group = {
                name: each for name, each in group.items() if name == test.id or not self._earlier.holds(name, *each)
            }
        if size is None or size < 2 or test.id not in group or self._against is not None or self._baselines is not None:
            return False
        if not may_be_batched(cell, measurement.plan):
            return False
        started = utc_text(self._clock.utc())
        if not self._batched.was_asked(test.id):
            self._ask_batch(cell.model, self._batched.next_job(test.id, group, size), group, size)
        found = self._batched.take(test.id)
        if found is None:
            return False
        completion, live = found
        measurement.worker_values, measurement.worker_reasons = live.record.values, live.record.reasons
        measurement.worker = live.record
        answer = counted_round(completion, self.metrics)
        self._record_block(
            measurement, replace(request, warmup=0), [answer], "measured", live, test=test, started=started
        )
        return True

    def _ask_batch(
        self, model: ModelSpec, job: Sequence[str], group: Mapping[str, tuple[Cell, CellPlan]], size: int
    ) -> None:
        """Ask the cells of some tests at once; those that are not answered are asked alone later."""
        prompts, generation = [group[test][0].prompt for test in job], group[job[0]][1].generation
        try:
            live = self.pool.get(model)
            with self._aside():
                live.worker.generate_many(
                    prompts, generation, (), size, lambda number, answer: self._batched.keep(job[number], answer, live)
                )
        except WorkerError as error:
            self.pool.died(model, error)
        except LLMCIError:
            return
        self.pool.lived(model)  # where its process died, the cell at fault will show it alone

    def _measure_memory(self, measurement: CellMeasurement) -> None:
        plan = measurement.plan
        request = RunRequest(
            cell=measurement.cell.id, prompt=measurement.cell.prompt, generation=plan.generation, rounds=plan.memory_rounds,
            warmup=1,
        )  # fmt: skip
        with self._turns.request():
            self._run(measurement, request, "memory", plan.memory_rounds, self.test)

    def _measure_sample(self, measurement: CellMeasurement) -> None:
        """One inference with the seed of the next sample."""
        plan, number = measurement.plan, len(measurement.sample_blocks)
        generation = replace(plan.generation, seed=sample_seed(plan.generation.seed, number))
        request = RunRequest(
            cell=measurement.cell.id,
            prompt=measurement.cell.prompt,
            generation=generation,
            rounds=1,
            warmup=0,
            first_round=number,
        )
        with self._turns.request():
            self._run(measurement, request, "sample", plan.samples, self.test)

    def _run(
        self, measurement: CellMeasurement, request: RunRequest, origin: Origin, planned: int, test: CurrentTest
    ) -> None:
        """Carry out one block, in one's turn, and record it, whatever became of it.

        :param test: the one that asked; when the turn comes, another one may run.
        """
        cell = measurement.cell
        rounds: list[RoundRecord] = []
        began = self._clock.now_ns()

        def on_round(record: RoundRecord) -> None:
            nonlocal began
            rounds.append(record)
            now = self._clock.now_ns()
            parts = 1 + request.warmup if len(rounds) == 1 else 1  # the warm-up went before the first round
            self._observer.round_ended(cell, request.first_round + len(rounds), planned, (now - began) / 1e9 / parts)
            began = now

        def failed(error: ErrorInfo) -> None:
            if origin == "memory":
                measurement.memory_error = failed_in_memory_pass(error)
            elif origin == "sample":
                measurement.error = failed_in_sample(error, request, planned)
            else:
                measurement.error = error

        role: Role = "memory" if origin == "memory" else "timing"
        try:
            live = self.pool.get(cell.model, role)
            request = self._closed_request(measurement, request, live)
        except LLMCIError as error:
            failed(error_info(error))
            started = utc_text(self._clock.utc())
            self._record_block(measurement, request, rounds, origin, None, test=test, started=started)
            return
        if origin != "memory":
            measurement.worker_values, measurement.worker_reasons = live.record.values, live.record.reasons
            measurement.worker = live.record
        contended, came_ns, started = False, self._clock.now_ns(), ""
        try:
            is_timed = origin == "memory" or (origin == "measured" and measurement.plan.timed)
            with self._undisturbed() if is_timed else self._aside() as contended:
                started, began = utc_text(self._clock.utc()), self._clock.now_ns()
                for part in self._parts(request, origin):
                    live.worker.run(part, on_round)
            self.pool.lived(cell.model, role)
        except WorkerError as error:
            self.pool.died(cell.model, error, role)
            failed(error_info(error))
        except LLMCIError as error:
            failed(error_info(error))
        except BaseException as error:  # Ctrl-C or another plugin's time-out: what was measured is not lost
            failed(
                ErrorInfo(
                    kind="interrupted",
                    message=f"interrupted: {type(error).__name__}: {one_line(str(error))}".removesuffix(": "),
                )
            )
            started = started or self._utc_at(came_ns)
            self._record_block(
                measurement, request, rounds, origin, live, test=test, started=started, contended=contended
            )
            raise
        started = started or self._utc_at(came_ns)
        self._record_block(measurement, request, rounds, origin, live, test=test, started=started, contended=contended)

    def _utc_at(self, moment_ns: int) -> str:
        """The time of day at a moment of the session's clock."""
        return utc_text(self._clock.utc() - timedelta(microseconds=(self._clock.now_ns() - moment_ns) // 1000))

    def _closed_request(self, measurement: CellMeasurement, request: RunRequest, live: LiveModel) -> RunRequest:
        """The request, and its cell, with as much filler as the model's own tokenizer asks for."""
        if not request.prompt.is_open:
            return request
        prompt = self._fitted(measurement.cell.model, request.prompt, live)
        measurement.cell = replace(measurement.cell, prompt=prompt)
        return replace(request, prompt=prompt)

    def _fitted(self, model: ModelSpec, prompt: Prompt, live: LiveModel) -> Prompt:
        """Worked out once a model."""
        assert prompt.fill is not None  # that is what makes it open
        known = (model.text, prompt.id, prompt.fill)
        if known not in self._fits:
            try:
                self._fits[known] = fitted(prompt, partial(tokens_of, live.worker), model.alias)
            except WorkerError as error:
                self.pool.died(model, error, live.record.role)
                raise
        return self._fits[known]

    def fit(self, model: ModelSpec, prompt: Prompt) -> Prompt:
        """A prompt that the model can be asked: itself, unless its length in tokens is open.

        :raises LLMCIError: if no text has that length, or the model cannot be loaded.
        """
        if not prompt.is_open:
            return prompt
        with self._turns.request():
            return self._fitted(model, prompt, self.pool.get(model))

    def _parts(self, request: RunRequest, origin: Origin) -> Iterator[RunRequest]:
        """What a block asks for: at once, but a memory pass under a time limit round by round, no more once that is over."""
        if origin != "memory" or self.settings.time_limit_s is None:
            yield request
            return
        for number in range(request.rounds):
            if number and self._out_of_time():
                return
            yield replace(
                request, rounds=1, warmup=request.warmup if not number else 0, first_round=request.first_round + number
            )

    @contextmanager
    def _undisturbed(self) -> Iterator[bool]:
        """Keep all other work on this machine away; yields whether some may run all the same.

        The wait is charged to no test: how long it takes is the doing of others.
        """
        is_parallel = self._process != "main"
        if self.settings.timing == "parallel":
            yield is_parallel
            return
        if self._lock.take():  # in one's turn, without a wait
            try:
                yield False
            finally:
                self._lock.give_back()
            return
        with ExitStack() as until_measured:
            with self._observer.uncharged():
                held = until_measured.enter_context(self._lock.held(self._tick, self._observer.say))
            yield is_parallel and not held

    @contextmanager
    def _aside(self) -> Iterator[bool]:
        """For work that is not timed: beside other such work, never beside what is timed. Yields False: it has no time to spoil."""
        if self.settings.timing == "parallel":
            yield False
            return
        with ExitStack() as until_answered:
            with self._observer.uncharged():
                until_answered.enter_context(self._lock.held(self._tick, self._observer.say, alone=False))
            yield False

    def _why_contended(self) -> str:
        if self.settings.timing == "parallel":
            return CONTENDED
        return f"other timed work may have run at the same time: {self._lock.fault}"

    def _record_block(
        self, measurement: CellMeasurement, request: RunRequest, rounds: Sequence[RoundRecord], origin: Origin, live: LiveModel | None,
        *, test: CurrentTest, started: str, contended: bool = False,
    ) -> None:  # fmt: skip
        late = learnt(rounds, live.record.values) if live and origin != "memory" else {}
        record = block_record(
            measurement, request, rounds, uid=self.new_uid(), test=test.id, attempt=test.attempt, origin=origin,
            worker=live.record.uid if live else "", started=started, contended=contended, isolated=self.settings.isolation == "worker",
            late=late, error=measurement.memory_error if origin == "memory" else measurement.error,
            facts=live.record.info if live else None,
        )  # fmt: skip
        if origin == "measured" and not measurement.plan.timed:
            record = without_times(record, self.metrics)
        if origin == "memory":
            record = of_memory_alone(record, self._of_memory_pass)
            measurement.memory_blocks.append(record)
        elif origin == "sample":
            measurement.sample_blocks.append(record)
        else:
            measurement.blocks.append(record)
        if late and live:
            live.record = replace(live.record, values={**live.record.values, **late})
            measurement.worker_values = live.record.values
        self._keep(measurement, record)
        for line in load_records(record, rounds, self.new_uid):
            self._emit(line)

    def _keep(self, measurement: CellMeasurement, record: RoundsRecord) -> None:
        """Record a block; only those of a memory pass have what is measured there."""
        for name in self._of_memory_pass if record.origin != "memory" else ():
            record.values.pop(name, None)
            record.reasons[name] = self._why_no_memory_pass(measurement, record.origin)
        if self._prices is not None and record.origin != "memory":
            add_cost(record, self._prices.of(record.model))
        self._blocks += bool(record.n)
        self._emit(record)

    def _why_no_memory_pass(self, measurement: CellMeasurement, origin: Origin) -> str:
        """What is said of a metric of the memory pass in a block that is not of it."""
        if origin == "call":
            return "a single call has no memory pass"
        if origin == "sample":
            return "a sample has no memory pass"
        if measurement.plan.memory_rounds:
            return "it is measured in the memory pass, which has blocks of its own"
        if self.settings.isolation == "inline":
            return NEEDS_A_PROCESS
        return NO_MEMORY_PASS if self.settings.memory == "off" else NOT_ASKED_FOR

    def _out_of_time(self) -> bool:
        limit = self.settings.time_limit_s
        return limit is not None and (self._clock.now_ns() - self._began_ns) / 1e9 > limit

    # ----------------------------------------------------------------------------------------- asked by a test's body

    def prompt(self, asked: str | Prompt | Sequence[Mapping[str, str]]) -> Prompt:
        """:func:`prompt_of`, with an id that tells as much of the text as the session may."""
        return prompt_of(asked, self.redactor.prompt_id)

    def call_once(
        self, model: ModelSpec, prompt: Prompt, generation: GenerationSettings, checks: tuple[str, ...],
        turn: Request | None = None,
    ) -> CellMeasurement:  # fmt: skip
        """One inference that a test's body asked for: recorded and checked, not gated on time; a failure is held in the result.

        :param turn: where the caller may want to withdraw the request.
        """
        test, measurement = self.test, single_call(model, prompt, generation, checks)
        request = RunRequest(cell=measurement.cell.id, prompt=prompt, generation=generation, rounds=1, warmup=0)
        with turn or self._turns.request():
            self._run(measurement, request, "call", 1, test)
            test.calls.append(measurement)
            test.asked[measurement.cell.id] = measurement.cell
            test.answers += 1
        return measurement

    def ask(
        self, spec: ModelSpec, request: Callable[[ModelWorker], T], about: Prompt, turn: Request | None = None,
        role: Role = "timing",
    ) -> T:  # fmt: skip
        """Ask a model something that is not measured. If its process dies of it, the pool learns of it and the log gets a row.

        :param about: what the row shows as the prompt.
        :param role: ``judge`` where it is asked for an opinion: what it lacks is told by the check, and not by a row of its own.
        :param turn: where the caller may want to withdraw the request.
        :raises LLMCIError: if the model failed.
        """
        test = self.test
        with turn or self._turns.request():
            return self._ask(spec, request, about, test, role)

    def _ask(
        self, spec: ModelSpec, request: Callable[[ModelWorker], T], about: Prompt, test: CurrentTest, role: Role = "timing"
    ) -> T:  # fmt: skip
        live = self.pool.get(spec, role)
        started = utc_text(self._clock.utc())
        try:
            with self._aside():
                answer = request(live.worker)
        except WorkerError as error:
            self.pool.died(spec, error, role)
            if role != "judge":
                self._record_loss(spec, about, error, live, test=test, started=started)
            raise
        self.pool.lived(spec, role)
        if about is not _ABOUT_PROFILE:  # a profile is counted when it has ended
            self.uses.requests += 1
        return answer

    def _record_loss(
        self, spec: ModelSpec, about: Prompt, error: WorkerError, live: LiveModel, *, test: CurrentTest, started: str
    ) -> None:
        """The row of a request that the model's process died of."""
        measurement = single_call(spec, about, GenerationSettings(), ())
        measurement.error = error_info(error)
        request = RunRequest(
            cell=measurement.cell.id, prompt=about, generation=measurement.plan.generation, rounds=1, warmup=0
        )
        self._record_block(measurement, request, (), "call", live, test=test, started=started)

    def ask_aside(
        self, spec: ModelSpec, request: Callable[[ModelWorker], object], about: Prompt, role: Role = "timing"
    ) -> str:
        """:meth:`ask` for work whose answers come by other ways.

        :param role: ``reference`` for what the model is compared with.
        :returns: the ``uid`` of the process that answered.
        :raises LLMCIError: if the model failed.
        """
        test = self.test
        with self._turns.request():
            uid = self.pool.get(spec, role).record.uid
            self._ask(spec, request, about, test, role)
        return uid

    def record_questions(self, record: QuestionsRecord) -> QuestionsRecord:
        """Record a batch of answers."""
        self._emit(record)
        return record

    def record_answers(self, record: AnswersRecord) -> None:
        """Record a batch of answers that are not counted yet."""
        self._emit(record)

    def take_over(self, record: QuestionsRecord, run: str, *, worker: str, test: str, attempt: int) -> QuestionsRecord:
        """Record a batch that an earlier run had answered.

        :param worker: the process of this session whose model is the same.
        """
        origin = record.resumed_from or run
        taken = replace(record, uid=self.new_uid(), worker=worker, test=test, attempt=attempt, resumed_from=origin)
        return self.record_questions(taken)

    def out_of_time(self) -> bool:
        """Whether the time for measuring is over."""
        return self._out_of_time()

    def conclude_task(self, measurement: TaskMeasurement) -> VerdictRecord:
        """Judge a benchmark task and record the verdict."""
        verdict = task_verdict(measurement, uid=self.new_uid(), test=self.test.id, attempt=self.test.attempt)
        self._emit(verdict)
        return verdict

    def load(self, spec: ModelSpec) -> WorkerRecord:
        """The model's latest start; it is loaded if it is not alive.

        :raises LLMCIError: if it cannot be loaded.
        """
        with self._turns.request():
            return self.pool.get(spec).record

    def profile_start(self, spec: ModelSpec) -> StartedProfile:
        """Start the instruments in a model's process.

        :raises LLMCIError: if the model failed.
        """

        def start(worker: ModelWorker) -> StartedProfile:
            return StartedProfile(model=spec, worker=worker, number=worker.profile_start())

        return self.ask(spec, start, _ABOUT_PROFILE)

    def profile_stop(self, started: StartedProfile) -> Measured:
        """Stop them and hand over what they found.

        :raises WorkerCrashed: if the process is not the one in which they were started.
        :raises LLMCIError: if the model failed.
        """
        test = self.test
        with self._turns.request():
            if not started.worker.alive:
                raise WorkerCrashed(
                    f"{started.model.alias}: the model's process ended inside the block; what it measured is lost"
                )
            found = self._ask(started.model, lambda worker: worker.profile_stop(started.number), _ABOUT_PROFILE, test)
            self.uses.profiles += 1
            return found

    @contextmanager
    def room_for(self, count: int) -> Iterator[None]:
        """Let that many models live at once meanwhile."""
        room = self.pool.room_for(count)
        room.__enter__()
        try:
            yield
        finally:
            if not self._turns.closed:  # after Ctrl-C fixtures end after the session
                with self._turns.request():  # one that has to leave may be in the middle of an answer
                    room.__exit__(None, None, None)

    def close(self) -> None:
        """End every model, also one that another thread is asking; whoever asks from now on gets an error."""
        self._turns.close(CLOSING_PATIENCE_S)
        self.pool.close()
        self._lock.close()


_ABOUT_PROFILE = Prompt(id="profile", text="llm.profile()", source=TEST_BODY)


def single_call(
    model: ModelSpec, prompt: Prompt, generation: GenerationSettings, checks: tuple[str, ...]
) -> CellMeasurement:
    """What is known of one ``llm.generate()`` before it is answered."""
    plan = CellPlan(rounds=1, max_rounds=1, warmup=0, block=1, generation=generation, checks=checks)
    cell = Cell(id=cell_id(model, prompt), model=model, prompt=prompt)
    return CellMeasurement(cell=cell, plan=plan)


def user_cache_dir() -> Path:
    """Where conversions are kept: ``LLMCI_CACHE_DIR``, else the user's cache directory."""
    given = os.environ.get("LLMCI_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "llmci"
