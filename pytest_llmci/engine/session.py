"""The whole session without pytest: what the plugin and the CLI adapt."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ..checks.base import CheckInput, Services
from ..clock import Clock, utc_text
from ..errors import LLMCIError, WorkerCrashed, WorkerError
from ..matrix import cell_id
from ..measure.profile import Measured
from ..metrics import MetricDef
from ..prompts.asked import prompt_of
from ..records import (
    TEST_BODY,
    AnswersRecord,
    BenchmarkRecord,
    Cell,
    GenerationSettings,
    LogRecord,
    ModelSpec,
    Prompt,
    QuestionsRecord,
    Role,
    RunRequest,
    VerdictRecord,
    WorkerRecord,
)
from ..redaction import Redactor
from ..registry import Registry
from ..runner.model_worker import Limits, ModelWorker, WorkerSetup
from ..secrets import Secrets
from ..settings import Settings
from .apart import Apart
from .batched import BatchedAnswers, counted_round, may_be_batched
from .block_runner import BlockRunner
from .cache_dir import user_cache_dir
from .current_test import CurrentTest
from .earlier import Earlier, EarlierCell
from .exclusive import MachineLock, lock_path
from .judge import Judge
from .observer import Observer
from .pool import LiveModel, Pool, error_info
from .recorder import Recorder
from .sampling import sample_seed
from .schedule import CellMeasurement, CellPlan, Schedule
from .services import Known, LiveServices, OpenModel
from .turns import Request, Turns

if TYPE_CHECKING:
    from ..cost.chosen import ChosenPrices
    from .benchmark import TaskMeasurement
    from .comparisons.against import Against
    from .comparisons.against_baseline import BaselineRules
    from .comparisons.comparing import Comparing
    from .taken_over import TakenOver

T = TypeVar("T")
CLOSING_PATIENCE_S: Final = 5.0
"""Longest wait at the end of the session for a request of another thread; its model's process is killed at once."""

__tracebackhide__ = True  # in a failing test, pytest shows the test's own lines


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
        emit: Callable[[LogRecord], None], log_folder: Path, sys_path: Sequence[str], process: str = "main", together: str = "",
        against: Against | None = None, baselines: BaselineRules | None = None, redactor: Redactor | None = None,
        prices: ChosenPrices | None = None,
        open_model: OpenModel | None = None, earlier: Earlier | None = None,
    ) -> None:  # fmt: skip
        """:param together: what the processes of a parallel session have in common.
        :param against: what every model is compared with, measured alternately with it.
        :param baselines: those whose stored numbers every model is compared with.
        :param open_model: finds the models that checks name; None: checks cannot ask models.
        :param earlier: a run that is gone on with: its cells are taken over where they are the same.
        :param redactor: takes out of the output of models' processes what must not be written; by default what looks secret.
        """
        self.settings = settings
        self.registry = registry
        self.metrics = metrics
        self.redactor = redactor or Redactor(Secrets(), redact=settings.redact)
        self.judge = Judge(registry, self.why_contended, metrics, self._services(open_model))
        self.test = CurrentTest("")
        self.uses = Uses()
        self._clock = clock
        self.observer = self._observer = observer
        self._emit = emit
        self._process = process
        self._serial = itertools.count(1)
        self._turns = Turns()
        self._apart = Apart(
            MachineLock(lock_path(), clock, together),
            observer,
            self._tick,
            together=settings.timing == "parallel",
            is_parallel=process != "main",
        )
        self.recorder = Recorder(settings, metrics, emit=emit, new_uid=self.new_uid, prices=prices)
        self._began_ns = clock.now_ns()
        limits = Limits(
            inference_s=settings.timeout_s, load_s=settings.load_timeout_s, memory_bytes=settings.memory_limit_bytes
        )
        setup = WorkerSetup(
            registry=registry, limits=limits, cache_dir=str(user_cache_dir()), log_folder=log_folder, threads=settings.threads,
            sys_path=sys_path, say=observer.say, tick=self._tick, hide=self.redactor.text,
            keeps_logs=not settings.redact, anchor=settings.anchor,
        )  # fmt: skip
        self._batched = BatchedAnswers()
        self._earlier = earlier
        self.pool = Pool(
            setup, settings.isolation, clock=clock, observer=observer, emit=emit, new_uid=self.new_uid,
            reference_setup=against.setup(setup) if against else None,
        )  # fmt: skip
        self.pool.around_load = self._apart.aside
        self._blocks = BlockRunner(
            self.pool, self.recorder, self._apart, clock=clock, observer=observer, time_limit_s=settings.time_limit_s,
            out_of_time=self._out_of_time,
        )  # fmt: skip
        self.schedule = Schedule(
            self._measure_block, self._measure_memory, self.judge.undecided, self._out_of_time, sample=self._measure_sample,
            needs_sample=self.judge.needs_sample,
        )  # fmt: skip
        self._taken_over = self._what_takes_over(earlier)
        self._comparing = self._what_compares(against, baselines)

    def _what_takes_over(self, earlier: Earlier | None) -> TakenOver | None:
        if earlier is None:
            return None
        from .taken_over import TakenOver

        return TakenOver(earlier, self.recorder, self.schedule, new_uid=self.new_uid, fit=self.fit, load=self.load)

    def _what_compares(self, against: Against | None, baselines: BaselineRules | None) -> Comparing | None:
        if against is None and baselines is None:
            return None
        from .comparisons.comparing import Comparing
        from .comparisons.process_pairs import Ports

        ports = Ports(
            pool=self.pool, clock=self._clock, observer=self._observer, emit=self._emit, keep=self.recorder.keep, new_uid=self.new_uid,
            turn=self._turns.request, undisturbed=self._apart.alone, out_of_time=self._out_of_time,
        )  # fmt: skip
        return Comparing(
            self.settings, self.metrics, self.judge, ports, against=against, baselines=baselines, fit=self.fit,
            why_contended=self.why_contended,
        )  # fmt: skip

    def why_contended(self) -> str:
        """What is said of a block beside which other work may have run."""
        return self._apart.why_contended()

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
        return self.recorder.blocks + self.uses.profiles

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
        comparing = self._comparing
        if comparing is None or test not in self.schedule.group(alias):
            if self._taken_over is None:
                return self.schedule.complete(CellMeasurement(cell=cell, plan=plan))
            found = self._taken_over.find(test, cell, plan)
            if isinstance(found, EarlierCell):
                return self._taken_over.take_over(cell, found, self.test)
            return self.schedule.complete(CellMeasurement(cell=cell, plan=plan, not_resumed=found))
        if test not in comparing.measured:
            with self._observer.uncharged():
                self._measure_model(comparing, alias, plan.family)
        return comparing.measured[test]

    def _measure_model(self, comparing: Comparing, alias: str, family: int) -> None:
        """Measure and compare all selected cells of a model, when the first of its tests asks: they are judged together."""
        asking = self.test
        group = {
            test: (cell, replace(plan, family=family)) for test, (cell, plan) in self.schedule.group(alias).items()
        }
        comparing.alternately(alias, group)
        carried = {} if comparing.alternates else self._carried(group)
        try:
            for test, (cell, plan) in group.items():
                self.test = asking if test == asking.id else CurrentTest(test)
                if self._taken_over is not None and test in carried:
                    comparing.measured[test] = self._taken_over.take_over(cell, carried[test], self.test)
                    continue
                measurement = comparing.measured.setdefault(test, CellMeasurement(cell=cell, plan=plan))
                done = measurement.rounds
                measurement.plan = replace(plan, rounds=max(done, plan.rounds), max_rounds=max(done, plan.max_rounds))
                self.schedule.complete(measurement)
        finally:
            self.test = asking
        comparing.with_baselines(alias, group)

    def _carried(self, group: Mapping[str, tuple[Cell, CellPlan]]) -> dict[str, EarlierCell]:
        """All cells of a model from the earlier run, or none: the model is what is compared, and one session measures it."""
        if self._taken_over is None:
            return {}
        found: dict[str, EarlierCell] = {}
        for test, (cell, plan) in group.items():
            earlier = self._taken_over.find(test, cell, plan)
            if not isinstance(earlier, EarlierCell):
                return {}
            found[test] = earlier
        return found

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
                self._blocks.run(measurement, request, "measured", max(plan.rounds, done + rounds), self.test)

    def _answered_in_batch(self, measurement: CellMeasurement, request: RunRequest) -> bool:
        """Record the answer of an untimed cell that was, or is now, asked together with others."""
        cell, size, test = measurement.cell, self.settings.batch, self.test
        group = self.schedule.group(cell.model.alias)
        if self._earlier is not None and size is not None:
            group = {
                name: each for name, each in group.items() if name == test.id or not self._earlier.holds(name, *each)
            }
        if size is None or size < 2 or test.id not in group or self._comparing is not None:
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
        self.recorder.block(
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
            with self._apart.aside():
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
            self._blocks.run(measurement, request, "memory", plan.memory_rounds, self.test)

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
            self._blocks.run(measurement, request, "sample", plan.samples, self.test)

    def fit(self, model: ModelSpec, prompt: Prompt) -> Prompt:
        """A prompt that the model can be asked: itself, unless its length in tokens is open.

        :raises LLMCIError: if no text has that length, or the model cannot be loaded.
        """
        if not prompt.is_open:
            return prompt
        with self._turns.request():
            return self._blocks.fitted(model, prompt, self.pool.get(model))

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
            self._blocks.run(measurement, request, "call", 1, test)
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
            with self._apart.aside():
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
        self.recorder.block(measurement, request, (), "call", live, test=test, started=started)

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
        from .benchmark import task_verdict

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
        self._apart.close()


_ABOUT_PROFILE = Prompt(id="profile", text="llm.profile()", source=TEST_BODY)


def single_call(
    model: ModelSpec, prompt: Prompt, generation: GenerationSettings, checks: tuple[str, ...]
) -> CellMeasurement:
    """What is known of one ``llm.generate()`` before it is answered."""
    plan = CellPlan(rounds=1, max_rounds=1, warmup=0, block=1, generation=generation, checks=checks)
    cell = Cell(id=cell_id(model, prompt), model=model, prompt=prompt)
    return CellMeasurement(cell=cell, plan=plan)
