"""The pairs of processes of one model, in which its cells are measured alternately with what they are compared with."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from ...clock import Clock, utc_text
from ...errors import LLMCIError, WorkerError
from ...metrics import MetricDef
from ...records import (
    Cell,
    ComparisonResult,
    ErrorInfo,
    GenerationSettings,
    Json,
    LoadPlan,
    LogRecord,
    RoundRecord,
    RoundsRecord,
    RunRequest,
    WorkerRecord,
)
from ...runner.attempts import attempts_in
from ...runner.wire import pack_arguments
from ..blocks import Origin, block_record, learnt
from ..observer import Observer
from ..pool import LiveModel, Pool, error_info
from ..schedule import CellMeasurement
from ..under_load import load_records
from .against import Entry
from .round_or_block import repeated_requests

Arm = Literal["candidate", "reference"]
ARMS: Final[tuple[Arm, Arm]] = ("candidate", "reference")
LEAST_SAMPLE_S: Final = 0.05
"""Answers that are shorter are taken several at a time: the clocks and the scheduler's ticks would drown a single one."""
MOST_REPEATS: Final = 50
_MODULES_NOW: Final = "pytest_llmci.runner.origin:modules_now"


@dataclass(slots=True)
class Course:
    """How far one entry has come."""

    entry: Entry
    measurement: CellMeasurement
    repeats: int = 0
    """Answers in a row that make one sample; 0 before the first warm-up."""
    repeats_are_open: bool = True
    """Until the first sample is taken: both sides' warm-ups have a say."""
    given_up: str = ""
    """Why it is no longer compared."""
    decided: list[ComparisonResult] | None = None

    @property
    def goes_on(self) -> bool:
        return self.decided is None and not self.given_up and self.measurement.error is None

    def generation(self, arm: Arm) -> GenerationSettings:
        return self.entry.plan.generation if arm == "candidate" else self.entry.reference_generation

    def load(self, arm: Arm) -> LoadPlan | None:
        return self.entry.plan.load if arm == "candidate" else self.entry.reference_load

    def cell(self, arm: Arm) -> Cell:
        return self.entry.cell if arm == "candidate" else self.entry.reference


@dataclass(slots=True)
class _Pair:
    """A block that is being measured: the two processes, and what was found so far."""

    number: int
    courses: Sequence[Course]
    parts: dict[tuple[int, Arm], _Part]
    """(position of the cell, side) -> its rounds."""
    live: dict[Arm, LiveModel] = field(default_factory=dict)
    started: str = ""
    contended: bool = False


@dataclass(slots=True)
class _Part:
    """The rounds of one cell on one side in the block that is being measured."""

    rounds: list[RoundRecord] = field(default_factory=list)
    late: dict[str, float] = field(default_factory=dict)
    warmup_failed: list[str] = field(default_factory=list)
    """Attempts at warm-ups that failed and were made again."""
    error: ErrorInfo | None = None


class _PairLost(Exception):
    """A process of the pair died; what the block has is not used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """What pairs and their schedule need of the session."""

    pool: Pool
    clock: Clock
    observer: Observer
    emit: Callable[[LogRecord], None]
    keep: Callable[[CellMeasurement, RoundsRecord], None]
    """Records a block of a cell."""
    new_uid: Callable[[], str]
    turn: Callable[[], AbstractContextManager[object]]
    undisturbed: Callable[[], AbstractContextManager[bool]]
    """Keeps other timed work away; yields whether some may run all the same."""
    out_of_time: Callable[[], bool]


class ProcessPairs:
    """Begins pair after pair and measures a block of each cell in it."""

    def __init__(
        self, courses: Sequence[Course], ports: Ports, *, looks: int, block: int, start_times: Iterable[MetricDef],
        rng: random.Random | None = None, prove: Callable[[dict[str, Json]], None] | None = None,
        own_modules: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """:param looks: pairs that may be measured at most, for who watches.
        :param prove: refuses code of the reference that came from elsewhere.
        """
        self._courses = courses
        self._ports = ports
        self._looks = looks
        self._block = block
        self._rng = rng or random.Random()
        self._prove = prove
        self._own_modules = tuple(own_modules)
        self._start_times = {metric.name: metric for metric in start_times}
        self._starts: dict[Arm, dict[str, list[float]]] = {
            arm: {name: [] for name in self._start_times} for arm in ARMS
        }
        self.model = courses[0].entry.cell.model
        """The candidate."""
        self.workers: dict[Arm, WorkerRecord] = {}
        """The latest start of each side."""
        self.begun = 0
        """Pairs of processes begun."""
        self.lost = 0
        """Those of them in which a process died."""
        self.repeated = 0
        """Requests that were sent again, or refused for their number, on either side."""

    def measure(self) -> bool:
        """One block of every cell that goes on, in a fresh pair of processes; False if a process died."""
        courses = [course for course in self._courses if course.goes_on]
        parts = {(position, arm): _Part() for position in range(len(courses)) for arm in ARMS}
        pair = _Pair(self.begun, courses, parts, started=utc_text(self._ports.clock.utc()))
        self.begun += 1
        self._ports.observer.pair_begins(self.model, pair.number, self._looks)
        whole = False
        try:
            with self._ports.turn():
                self._start(pair)
                with self._ports.undisturbed() as pair.contended:
                    pair.started = utc_text(self._ports.clock.utc())
                    self._rounds(pair)
                self._check_origin(pair, afterwards=True)
            whole = True
        except _PairLost:
            pass
        finally:  # also after Ctrl-C: what was measured is not lost
            self._record(pair, whole=whole)
        for arm in ARMS if whole else ():
            self._ports.pool.lived(courses[0].cell(arm).model, _role(arm))
        self.lost += not whole
        return whole

    def _start(self, pair: _Pair) -> None:
        self._ports.pool.release(self.model)
        for arm in self._rng.sample(ARMS, 2):
            try:
                pair.live[arm] = self._ports.pool.get(self._courses[0].cell(arm).model, _role(arm), pair.number)
            except LLMCIError as error:
                self._side_failed(pair.courses, arm, error_info(error))
                raise _PairLost from None
            self.workers[arm] = pair.live[arm].record
            if arm == "reference":
                self._check_origin(pair)
        for course in pair.courses:
            record = pair.live["candidate"].record
            course.measurement.worker_values, course.measurement.worker_reasons = record.values, record.reasons
            course.measurement.worker = record

        self._note_starts(pair)

    def _note_starts(self, pair: _Pair) -> None:
        """What the two starts took, where both tell: they are compared with each other."""
        for name, metric in self._start_times.items():
            stored = {arm: pair.live[arm].record.values.get(name) for arm in ARMS}
            for arm, value in stored.items() if None not in stored.values() else ():
                self._starts[arm][name].append(metric.to_si(value or 0.0))

    def only_start(self) -> bool:
        """A pair that only loads its models; False if one could not be loaded."""
        pair = _Pair(self.begun, (), {}, started=utc_text(self._ports.clock.utc()))  # a failure is no cell's
        self.begun += 1
        self._ports.observer.pair_begins(self.model, pair.number, self._looks)
        try:
            with self._ports.turn():
                self._start(pair)
        except _PairLost:
            return False
        return True

    @property
    def starts(self) -> int:
        """How often both sides told what their start took; beyond all looks where nobody does."""
        return max((len(values) for values in self._starts["candidate"].values()), default=self._looks + 1)

    def warm_starts(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Times of reference and candidate without the first pair, one of which may have read the files from the disk."""
        base, candidate = (
            {name: values[1:] or values for name, values in self._starts[arm].items()}
            for arm in ("reference", "candidate")
        )
        return base, candidate

    def _check_origin(self, pair: _Pair, *, afterwards: bool = False) -> None:
        """Where the reference's code came from: when it has loaded, and again for what only an answer imports."""
        if self._prove is None:
            return
        live = pair.live["reference"]
        try:
            info: dict[str, Json] = live.record.info
            if afterwards:
                files: Any = live.worker.call(_MODULES_NOW, pack_arguments(self._own_modules))
                info = {"module_files": files}
            self._prove(info)
        except LLMCIError as error:
            for course in pair.courses:
                course.given_up = str(error)
            raise _PairLost from None

    def _side_failed(self, courses: Sequence[Course], arm: Arm, error: ErrorInfo) -> None:
        """A side could not be loaded: of the candidate every cell fails, of the reference none can be compared."""
        for course in courses:
            if arm == "candidate":
                course.measurement.error = error
            else:
                course.given_up = f"the reference could not be loaded: {error.message}"

    def _rounds(self, pair: _Pair) -> None:
        for position, course in enumerate(pair.courses):
            for arm in self._rng.sample(ARMS, 2):
                self._warm_up(course, arm, pair.live[arm], pair.parts[position, arm])
        rooms = [course.entry.plan.max_rounds - course.measurement.samples for course in pair.courses]
        planned = min(self._block, max(rooms))
        for done in range(planned):
            for position, course in self._in_random_order(pair.courses):
                if done >= rooms[position]:
                    continue
                began = self._ports.clock.now_ns()
                for arm in self._rng.sample(ARMS, 2):
                    self._sample(course, arm, pair.live[arm], pair.parts[position, arm])
                seconds = (self._ports.clock.now_ns() - began) / 1e9
                self._ports.observer.round_ended(course.entry.cell, done + 1, planned, seconds)

    def _in_random_order(self, courses: Sequence[Course]) -> Iterator[tuple[int, Course]]:
        order = list(enumerate(courses))
        self._rng.shuffle(order)
        return iter(order)

    def _warm_up(self, course: Course, arm: Arm, live: LiveModel, part: _Part) -> None:
        """Unmeasured answers; the last of them tells how many it takes for one sample. Under load, a run of many is one."""
        if course.entry.plan.load is not None:
            course.repeats = 1
            self._ask(course, arm, live, part, 0, warmup=max(1, course.entry.plan.warmup))
            return
        for _ in range(max(1, course.entry.plan.warmup)):
            self._ask(course, arm, live, part, 1)
        if not part.rounds:
            return
        part.late = learnt(part.rounds, live.record.values)
        part.warmup_failed = [each for record in part.rounds for each in attempts_in(record.noisy)]
        latency_s = part.rounds[-1].values.get("latency", 0) / 1e9
        part.rounds.clear()
        if course.repeats_are_open:
            wanted = math.ceil(LEAST_SAMPLE_S / latency_s) if latency_s > 0 else MOST_REPEATS
            course.repeats = max(course.repeats, min(wanted, MOST_REPEATS))

    def _sample(self, course: Course, arm: Arm, live: LiveModel, part: _Part) -> None:
        course.repeats_are_open = False
        self._ask(course, arm, live, part, course.repeats, anchor_every=course.repeats)

    def _ask(
        self,
        course: Course,
        arm: Arm,
        live: LiveModel,
        part: _Part,
        rounds: int,
        *,
        warmup: int = 0,
        anchor_every: int = 0,
    ) -> None:
        if not course.goes_on:
            return
        cell = course.cell(arm)
        request = RunRequest(
            cell=cell.id, prompt=cell.prompt, generation=course.generation(arm), rounds=rounds, warmup=warmup,
            first_round=course.measurement.rounds + len(part.rounds), load=course.load(arm), anchor_every=anchor_every,
        )  # fmt: skip

        def note(record: RoundRecord) -> None:
            part.rounds.append(record)
            self.repeated += repeated_requests(record)

        try:
            live.worker.run(request, note)
        except WorkerError as error:
            self._ports.pool.died(cell.model, error, _role(arm))
            self._failed(course, arm, part, error_info(error))
            raise _PairLost from None
        except LLMCIError as error:
            self._failed(course, arm, part, error_info(error))

    def _failed(self, course: Course, arm: Arm, part: _Part, error: ErrorInfo) -> None:
        part.error = error
        if arm == "candidate":
            course.measurement.error = error
        elif error.kind in ("crashed", "timeout", "protocol") and not self.lost:
            return  # another pair may live
        else:
            course.given_up = f"the reference failed: {error.message}"

    def _record(self, pair: _Pair, *, whole: bool) -> None:
        """A line for each cell and side, whatever became of it."""
        for (position, arm), part in pair.parts.items():
            if not part.rounds and part.error is None:
                continue
            if part.error is None and not whole:
                part.error = ErrorInfo(kind="interrupted", message="its pair of processes ended early")
            measurement = pair.courses[position].measurement
            record = self._block_of(pair, position, arm, part)
            (measurement.blocks if arm == "candidate" else measurement.reference_blocks).append(record)
            if arm == "candidate":
                measurement.worker_values = {**measurement.worker_values, **part.late}
            self._ports.keep(measurement, record)
            for line in load_records(record, part.rounds, self._ports.new_uid):
                self._ports.emit(line)

    def _block_of(self, pair: _Pair, position: int, arm: Arm, part: _Part) -> RoundsRecord:
        course = pair.courses[position]
        cell, live = course.cell(arm), pair.live.get(arm)
        blocks = course.measurement.blocks if arm == "candidate" else course.measurement.reference_blocks
        side = CellMeasurement(cell=cell, plan=course.entry.plan, blocks=blocks)
        request = RunRequest(
            cell=cell.id, prompt=cell.prompt, generation=course.generation(arm), rounds=len(part.rounds), warmup=0,
            first_round=side.rounds, load=course.load(arm),
        )  # fmt: skip
        record = block_record(
            side, request, part.rounds, uid=self._ports.new_uid(), test=course.entry.test, attempt=0, origin=_origin(arm),
            worker=live.record.uid if live else "", started=pair.started, contended=pair.contended, isolated=True, late=part.late,
            error=part.error, facts=live.record.info if live else None,
        )  # fmt: skip
        return replace(record, pair=pair.number, repeats=course.repeats or 1, warmup_failed=part.warmup_failed)


def _role(arm: Arm) -> Literal["timing", "reference"]:
    return "timing" if arm == "candidate" else "reference"


def _origin(arm: Arm) -> Origin:
    return "measured" if arm == "candidate" else "reference"
