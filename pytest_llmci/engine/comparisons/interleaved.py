"""A model and what it is compared with, measured alternately in one session.

The cells of a model are worked off together, in blocks. Each block runs in a fresh pair of processes, one a side, since a
process keeps an offset of its own for as long as it lives, which more rounds in it do not average out. Inside a block every
round visits each cell once, in random order, and both sides of a cell back to back, the first of them drawn by lot: what
disturbs the machine for a while then meets both sides and all cells alike. After each block the rounds so far are judged; cells
that are decided stop.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ...load.scenario import SPEC_KEYS
from ...measure.starts import START_TIMES
from ...metrics import MetricDef
from ...records import ComparisonResult, Json, ModelSpec, WorkerRecord
from ...stats.memory import compare_memory
from ...store.comparability import protocol_part, subject_part
from ..schedule import OUT_OF_TIME, CellMeasurement
from .against import Entry
from .cell_samples import Sides, met, samples_of
from .comparison import Accept, ModelComparison, accepted_or_not, compare_model, gated_starts
from .model_gate import model_gate
from .process_pairs import Course, Ports, ProcessPairs
from .round_or_block import why_by_block
from .rules import Rules
from .starts import compare_starts, starts_shown

MOST_FILES: Final = 3
NOT_ALONE: Final = "not decided alone: the model as a whole regressed"
_SHA256: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
SPARE_PAIRS: Final = 2
"""Pairs that may be lost to a process that died before the comparison is given up."""
_HANDLED_APART: Final = frozenset({"prompt_sha256", "memory_method", "isolation", "anchor"})
"""Parts of the protocol that are compared before measuring, metric by metric, or that are equal in one session."""


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
        self._accepted = accepted
        self._on_purpose = frozenset(on_purpose)
        self._files = _some(changed_files)
        self._rules = rules
        self._metrics = {
            name: metric for name, metric in metrics.items() if metric.is_compared and metric.name in _wanted(rules)
        }
        self._courses = [
            Course(entry, CellMeasurement(cell=entry.cell, plan=entry.plan, against=rules.against)) for entry in entries
        ]
        self._changed: tuple[str, ...] = ()
        self._shared = ""
        self._start_times = {name: metrics[name] for name in START_TIMES if name in metrics}
        self._pairs = ProcessPairs(
            self._courses, ports, looks=rules.looks, block=block, start_times=self._start_times.values(), rng=rng, prove=prove,
            own_modules=own_modules,
        )  # fmt: skip

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
            if not self._pairs.measure():
                if self._pairs.lost > SPARE_PAIRS:
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

    def _start_more(self) -> None:
        """Pairs that only load their models, where times of starts are gated: one more than rounds may take.

        The number of pairs is fixed beforehand, so that no look at the times says when to stop.
        """
        while gated_starts(self._rules) and self._pairs.starts <= self._rules.looks:
            broken = all(each.given_up or each.measurement.error is not None for each in self._courses)
            if broken or self._ports.out_of_time() or not self._pairs.only_start():
                return

    # -------------------------------------------------------------------------------------------------------- judging

    def _judge(self, look: int, *, last: bool) -> ModelComparison:
        if not self._changed:
            self._note_what_differs()
        self._rules = replace(self._rules, by_block=why_by_block([*self._pairs.workers.values()], self._pairs.repeated))
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

    def _sides(self, course: Course) -> Sides:
        base, candidate = met(course.measurement.reference_blocks, course.measurement.blocks)
        return Sides(base=samples_of(base, self._metrics), candidate=samples_of(candidate, self._metrics))

    def _note_what_differs(self) -> None:
        """What is on trial may differ and is shown; what was asked, and how it was measured, may not."""
        candidate, reference = self._pairs.workers.get("candidate"), self._pairs.workers.get("reference")
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
            measurement.starts = starts_shown(*self._pairs.warm_starts())
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
            *self._pairs.warm_starts(), self._rules, self._start_times, tests=tests or len(self._rules.detect) + 2
        )

    def _footprint(self) -> list[ComparisonResult]:
        """Bytes of the weights: they are counted and never vary, so that any growth is one."""
        base, now = (
            self._pairs.workers[arm].values.get("model_footprint") if arm in self._pairs.workers else None
            for arm in ("reference", "candidate")
        )
        if base is None or now is None or all(course.given_up for course in self._courses):
            return []
        change = compare_memory([base], [now], exact=True)
        return [
            ComparisonResult(
                metric="model_footprint", mode="exact", verdict=change.verdict, against=self._rules.against, base=base, candidate=now,
                change=change.effect, detect=0.0, rounds=1, pairs=self._pairs.begun, improved=change.improved,
            )
        ]  # fmt: skip

    def _not_compared(self, course: Course) -> ComparisonResult:
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
