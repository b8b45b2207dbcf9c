"""A model and what it is compared with, measured alternately in one session.

The cells of a model are worked off together, in blocks. Each block runs in a fresh pair of processes, one a side, since a
process keeps an offset of its own for as long as it lives, which more rounds in it do not average out. Inside a block every
round visits each cell once, in random order, and both sides of a cell back to back, the first of them drawn by lot: what
disturbs the machine for a while then meets both sides and all cells alike. After each block the rounds so far are judged; cells
that are decided stop.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from ...clock import Clock, utc_text
from ...errors import LLMCIError, WorkerError
from ...load.scenario import SPEC_KEYS
from ...measure.starts import START_TIMES
from ...metrics import MetricDef
from ...records import (
    Cell,
    ComparisonResult,
    ErrorInfo,
    GenerationSettings,
    Json,
    LoadPlan,
    LogRecord,
    ModelSpec,
    RoundRecord,
    RoundsRecord,
    RunRequest,
    WorkerRecord,
)
from ...runner.attempts import attempts_in
from ...runner.wire import pack_arguments
from ...stats.memory import compare_memory
from ...store.comparability import protocol_part, subject_part
from ..blocks import Origin, block_record, learnt
from ..observer import Observer
from ..pool import LiveModel, Pool, error_info
from ..schedule import OUT_OF_TIME, CellMeasurement
from ..under_load import load_records
from .against import Entry
from .cell_samples import Sides, met, samples_of
from .comparison import Accept, ModelComparison, accepted_or_not, compare_model, gated_starts
from .model_gate import model_gate
from .round_or_block import repeated_requests, why_by_block
from .rules import Rules
from .starts import compare_starts, starts_shown

Arm = Literal["candidate", "reference"]
ARMS: Final[tuple[Arm, Arm]] = ("candidate", "reference")
LEAST_SAMPLE_S: Final = 0.05
"""Answers that are shorter are taken several at a time: the clocks and the scheduler's ticks would drown a single one."""
MOST_REPEATS: Final = 50
MOST_FILES: Final = 3
_MODULES_NOW: Final = "pytest_llmci.runner.origin:modules_now"
NOT_ALONE: Final = "not decided alone: the model as a whole regressed"
_SHA256: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
SPARE_PAIRS: Final = 2
"""Pairs that may be lost to a process that died before the comparison is given up."""
_HANDLED_APART: Final = frozenset({"prompt_sha256", "memory_method", "isolation", "anchor"})
"""Parts of the protocol that are compared before measuring, metric by metric, or that are equal in one session."""


@dataclass(slots=True)
class _Course:
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
    courses: Sequence[_Course]
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
    """What the schedule needs of the session."""

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


class Interleaved:
    """The schedule of one model."""

    def __init__(
        self, entries: Sequence[Entry], rules: Rules, metrics: Mapping[str, MetricDef], ports: Ports, *, block: int,
        rng: random.Random | None = None, on_purpose: Iterable[str] = (), changed_files: Sequence[str] = (),
        prove: Callable[[dict[str, Json]], None] | None = None, own_modules: Sequence[str] = (), accepted: Accept = lambda *_: "",
        fail_undecided: bool = False,
    ) -> None:  # fmt: skip
        """:param entries: of one model, at least one.
        :param on_purpose: parts of the protocol that may differ, as they are what is compared.
        :param changed_files: of the repository, where two commits are compared.
        :param accepted: says which regressions are meant.
        :param fail_undecided: whether the verdict over the model fails where a time of its starts could not be told.
        """
        self._fail_undecided = fail_undecided
        self._ports = ports
        self._prove = prove
        self._own_modules = tuple(own_modules)
        self._accepted = accepted
        self._on_purpose = frozenset(on_purpose)
        self._files = _some(changed_files)
        self._rules = rules
        self._metrics = {
            name: metric for name, metric in metrics.items() if metric.is_compared and metric.name in _wanted(rules)
        }
        self._block = block
        self._rng = rng or random.Random()
        self._courses = [
            _Course(entry, CellMeasurement(cell=entry.cell, plan=entry.plan, against=rules.against))
            for entry in entries
        ]
        self._most = max(entry.plan.max_rounds for entry in entries)
        self._lost = 0
        self._changed: tuple[str, ...] = ()
        self._shared = ""
        self._repeated = 0
        """Requests that were sent again, or refused for their number, on either side."""
        self._workers: dict[Arm, WorkerRecord] = {}
        self._start_times = {name: metrics[name] for name in START_TIMES if name in metrics}
        self._starts: dict[Arm, dict[str, list[float]]] = {
            arm: {name: [] for name in self._start_times} for arm in ARMS
        }
        self.pairs = 0
        """Pairs of processes begun."""

    @property
    def model(self) -> ModelSpec:
        """The candidate."""
        return self._courses[0].entry.cell.model

    def run(self) -> dict[str, CellMeasurement]:
        """Measure and judge; failures of the model are held in the results.

        :returns: test -> what was measured and found. A cell that could not be compared may have fewer rounds than planned.
        """
        for course in self._courses:
            course.given_up = _why_never(course.entry)
        looks, look = self._rules.looks, 0
        found = ModelComparison()
        while look < looks and any(course.goes_on for course in self._courses):
            if self._ports.out_of_time():
                self._stop(found, OUT_OF_TIME)
                break
            if not self._measure_pair():
                self._lost += 1
                if self._lost > SPARE_PAIRS:
                    self._give_up("processes of the comparison died again and again")
                continue
            found = self._judge(look, last=look == looks - 1)
            look += 1
            if any(result.verdict == "regressed" for result in found.model):
                self._stop(found, NOT_ALONE)
                break
        self._start_more()
        self._ports.pool.release(self.model, "reference")
        self._conclude(found)
        return {course.entry.test: course.measurement for course in self._courses}

    # ------------------------------------------------------------------------------------------------------ measuring

    def _measure_pair(self) -> bool:
        """One block of every cell that goes on, in a fresh pair of processes; False if a process died."""
        courses = [course for course in self._courses if course.goes_on]
        parts = {(position, arm): _Part() for position in range(len(courses)) for arm in ARMS}
        pair = _Pair(self.pairs, courses, parts, started=utc_text(self._ports.clock.utc()))
        self.pairs += 1
        self._ports.observer.pair_begins(self.model, pair.number, self._rules.looks)
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
        return whole

    def _start(self, pair: _Pair) -> None:
        self._ports.pool.release(self.model)
        for arm in self._rng.sample(ARMS, 2):
            try:
                pair.live[arm] = self._ports.pool.get(self._courses[0].cell(arm).model, _role(arm), pair.number)
            except LLMCIError as error:
                self._side_failed(pair.courses, arm, error_info(error))
                raise _PairLost from None
            self._workers[arm] = pair.live[arm].record
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

    def _start_more(self) -> None:
        """Pairs that only load their models, where times of starts are gated: one more than rounds may take.

        The number of pairs is fixed beforehand, so that no look at the times says when to stop.
        """
        while gated_starts(self._rules) and self._count_starts() <= self._rules.looks:
            broken = all(each.given_up or each.measurement.error is not None for each in self._courses)
            if broken or self._ports.out_of_time():
                return
            pair = _Pair(self.pairs, (), {}, started=utc_text(self._ports.clock.utc()))  # a failure is no cell's
            self.pairs += 1
            self._ports.observer.pair_begins(self.model, pair.number, self._rules.looks)
            try:
                with self._ports.turn():
                    self._start(pair)
            except _PairLost:
                return

    def _count_starts(self) -> int:
        return max((len(values) for values in self._starts["candidate"].values()), default=self._rules.looks + 1)

    def _warm_starts(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
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

    def _side_failed(self, courses: Sequence[_Course], arm: Arm, error: ErrorInfo) -> None:
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

    def _in_random_order(self, courses: Sequence[_Course]) -> Iterator[tuple[int, _Course]]:
        order = list(enumerate(courses))
        self._rng.shuffle(order)
        return iter(order)

    def _warm_up(self, course: _Course, arm: Arm, live: LiveModel, part: _Part) -> None:
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

    def _sample(self, course: _Course, arm: Arm, live: LiveModel, part: _Part) -> None:
        course.repeats_are_open = False
        self._ask(course, arm, live, part, course.repeats, anchor_every=course.repeats)

    def _ask(
        self,
        course: _Course,
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
            self._repeated += repeated_requests(record)

        try:
            live.worker.run(request, note)
        except WorkerError as error:
            self._ports.pool.died(cell.model, error, _role(arm))
            self._failed(course, arm, part, error_info(error))
            raise _PairLost from None
        except LLMCIError as error:
            self._failed(course, arm, part, error_info(error))

    def _failed(self, course: _Course, arm: Arm, part: _Part, error: ErrorInfo) -> None:
        part.error = error
        if arm == "candidate":
            course.measurement.error = error
        elif error.kind in ("crashed", "timeout", "protocol") and not self._lost:
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

    # -------------------------------------------------------------------------------------------------------- judging

    def _judge(self, look: int, *, last: bool) -> ModelComparison:
        if not self._changed:
            self._note_what_differs()
        self._rules = replace(self._rules, by_block=why_by_block([*self._workers.values()], self._repeated))
        sides = {
            course.entry.test: self._sides(course)
            for course in self._courses
            if not course.given_up and course.measurement.error is None
        }
        if not sides:
            return ModelComparison()
        stands = {course.entry.test: course.decided for course in self._courses if course.decided is not None}
        found = compare_model(
            sides, self._rules, self._metrics, look=look, last=last,
            stands={test: results for test, results in stands.items() if test in sides},
            apart={course.entry.test for course in self._courses if course.entry.plan.expected_to_fail},
        )  # fmt: skip
        for course in self._courses:
            test = course.entry.test
            enough = course.measurement.samples >= course.entry.plan.rounds
            if test in sides and course.decided is None and enough and (test not in found.undecided or last):
                course.decided = found.cells[test]
        return found

    def _sides(self, course: _Course) -> Sides:
        base, candidate = met(course.measurement.reference_blocks, course.measurement.blocks)
        return Sides(base=samples_of(base, self._metrics), candidate=samples_of(candidate, self._metrics))

    def _note_what_differs(self) -> None:
        """What is on trial may differ and is shown; what was asked, and how it was measured, may not."""
        candidate, reference = self._workers.get("candidate"), self._workers.get("reference")
        if candidate is None or reference is None:
            return
        differences = subject_part(reference, {}).differences(subject_part(candidate, {}))
        self._changed = (*self._files, *(_SHA256.sub(r"\1", str(each)) for each in differences))
        self._changed = self._changed or ("nothing that is known of the model or its libraries",)
        self._shared = shared_place(reference, candidate)
        meant = {name for name, _ in set(reference.spec.options.items()) ^ set(candidate.spec.options.items())}
        meant |= {"load"} if meant.intersection(SPEC_KEYS) else set()
        on_purpose = _HANDLED_APART | self._on_purpose | meant
        for course in self._courses:
            if not (course.measurement.blocks and course.measurement.reference_blocks) or course.given_up:
                continue
            asked = protocol_part(course.measurement.reference_blocks[0], reference)
            differing = [
                difference
                for difference in asked.differences(protocol_part(course.measurement.blocks[0], candidate))
                if difference.name not in on_purpose
            ]
            if differing:
                course.given_up = f"measured in another way: {', '.join(map(str, differing))}"

    # ------------------------------------------------------------------------------------------------------------ end

    def _stop(self, found: ModelComparison, reason: str) -> None:
        """Leave the cells that go on as they are; that time was short is told before what it left open."""
        for course in self._courses:
            if not course.goes_on:
                continue
            results = found.cells.get(course.entry.test, [])
            course.decided = [
                replace(result, reason=_together(reason, result.reason)) if result.verdict == "inconclusive" else result
                for result in results
            ]
            if not results:
                course.given_up = reason

    def _give_up(self, reason: str) -> None:
        for course in self._courses:
            if course.goes_on:
                course.given_up = reason

    def _conclude(self, found: ModelComparison) -> None:
        for course in self._courses:
            measurement = course.measurement
            measurement.changed = self._changed
            measurement.starts = starts_shown(*self._warm_starts())
            if course.given_up:
                measurement.comparisons = [self._not_compared(course)]
            else:
                found_here = course.decided or found.cells.get(course.entry.test, [])
                cell = course.entry.cell.id
                measurement.comparisons = [
                    replace(accepted_or_not(cell, result, self._accepted), shared=self._shared) for result in found_here
                ]
        found.model = [*found.model, *self._loading(found.tests), *self._footprint()]
        found.model = [accepted_or_not(self.model.alias, result, self._accepted) for result in found.model]
        if found.model:
            cells = {course.entry.cell.id: course.measurement.comparisons for course in self._courses}
            self._ports.emit(
                model_gate(
                    self.model.alias,
                    found.model,
                    self._rules.against,
                    self._ports.new_uid(),
                    cells,
                    fail_undecided=self._fail_undecided,
                )
            )

    def _loading(self, tests: int) -> list[ComparisonResult]:
        if all(course.given_up for course in self._courses):
            return []
        return compare_starts(
            *self._warm_starts(), self._rules, self._start_times, tests=tests or len(self._rules.detect) + 2
        )

    def _footprint(self) -> list[ComparisonResult]:
        """Bytes of the weights: they are counted and never vary, so that any growth is one."""
        base, now = (
            self._workers[arm].values.get("model_footprint") if arm in self._workers else None
            for arm in ("reference", "candidate")
        )
        if base is None or now is None or all(course.given_up for course in self._courses):
            return []
        change = compare_memory([base], [now], exact=True)
        return [
            ComparisonResult(
                metric="model_footprint", mode="exact", verdict=change.verdict, against=self._rules.against, base=base, candidate=now,
                change=change.effect, detect=0.0, rounds=1, pairs=self.pairs, improved=change.improved,
            )
        ]  # fmt: skip

    def _not_compared(self, course: _Course) -> ComparisonResult:
        return ComparisonResult(
            metric="latency", mode=self._rules.mode, verdict="not comparable", against=self._rules.against, base=None,
            candidate=None, change=None, reason=course.given_up,
        )  # fmt: skip


def _some(files: Sequence[str]) -> tuple[str, ...]:
    """
    >>> _some(["a.py", "b.py", "c.py", "d.py", "e.py"]), _some([])
    (('a.py', 'b.py', 'c.py', '2 more files'), ())
    """
    more = len(files) - MOST_FILES
    return (*files[:MOST_FILES], *([f"{more} more file{'' if more == 1 else 's'}"] if more > 0 else []))


def _wanted(rules: Rules) -> frozenset[str]:
    return frozenset(
        {"latency", "cpu_time", "net_time", "output_tokens", "peak_rss", *rules.counted, *rules.detect, *rules.only}
    ) - {
        "",
        *START_TIMES,
    }


def _role(arm: Arm) -> Literal["timing", "reference"]:
    return "timing" if arm == "candidate" else "reference"


def _origin(arm: Arm) -> Origin:
    return "measured" if arm == "candidate" else "reference"


def _together(stopped: str, own: str) -> str:
    return f"{stopped}; {own}" if own and stopped == OUT_OF_TIME else own or stopped


def _why_never(entry: Entry) -> str:
    """Why a cell cannot be compared, as far as is known before it is measured."""
    if (
        entry.cell.prompt.shown != entry.reference.prompt.shown
        or entry.cell.prompt.messages != entry.reference.prompt.messages
    ):
        return "the prompt is another one on the side of the reference"
    return ""


def shared_place(reference: WorkerRecord, candidate: WorkerRecord) -> str:
    """The server, or the accelerator, that both sides compute on; empty where they have processes of their own on CPUs."""
    servers = {str(side.info.get("server") or "") for side in (reference, candidate)}
    devices = {str(side.info.get("device") or "") for side in (reference, candidate)}
    if len(servers) == 1 and any(servers):
        return f"one server, {servers.pop()}"
    if len(devices) == 1 and all(device.startswith(("cuda", "mps")) for device in devices):
        return f"one accelerator, {devices.pop()}"
    return ""
