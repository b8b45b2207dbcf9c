"""In which order what is measured.

The unit is a model: its cells are selected as a group and measured one after the other on one live process. Without a
comparison a cell is measured when its own test runs, so a group is worked off cell by cell; undecided budgets get more rounds.
With one, the first test of a group has all of it measured, as :mod:`~pytest_llmci.engine.comparisons.interleaved` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..checks.base import CheckInput
from ..metrics import MetricDef
from ..records import (
    Cell,
    CheckResult,
    ComparisonResult,
    ErrorInfo,
    GenerationSettings,
    LoadPlan,
    Missing,
    Number,
    Provenance,
    RoundsRecord,
    WorkerRecord,
)
from ..stats.budget_expression import Budget

if TYPE_CHECKING:
    from .comparisons.cell_samples import CellSamples


def least_answers(rounds: int, warmup: int, memory_rounds: int) -> int:
    """Inferences of a cell that nothing prolongs; a memory pass has a warm-up of its own."""
    return warmup + rounds + (1 + memory_rounds if memory_rounds else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class CellPlan:
    """How one cell is to be measured and judged."""

    rounds: int
    max_rounds: int
    warmup: int
    block: int
    generation: GenerationSettings
    memory_rounds: int = 0
    """Rounds of the memory pass; 0: there is none."""
    budgets: tuple[Budget, ...] = ()
    checks: tuple[str, ...] = ("valid",)
    expected_to_fail: bool = False
    """Whether its test says so (xfail): then it does not count for its model as a whole."""
    said: frozenset[str] = frozenset()
    """What of ``generation`` the test itself says, so that no settings change it."""
    family: int = 1
    """How many budgets and sampled cells of the session are decided by a test that can err; they share its false alarms."""
    samples: int = 0
    """Most sampled outputs that its checks are judged on; 0: they are judged on its rounds."""
    min_pass_rate: float = 0.8
    """Share of the samples that must pass."""
    timed: bool = True
    """False: its times are of no interest, so that it may be answered beside others."""
    load: LoadPlan | None = None
    """Set where each round is a run of many requests."""

    @property
    def answers(self) -> int:
        """How many inferences it takes at least, where no sampling ends early; under load a run counts as one."""
        return least_answers(self.rounds, self.warmup, self.memory_rounds) + self.samples

    @property
    def looks(self) -> int:
        """How often an undecided cell may be judged at most."""
        return 1 + -(-(self.max_rounds - self.rounds) // self.block)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredSide:
    """What a cell is compared with, of another session."""

    against: str
    """As people know it."""
    samples: CellSamples


@dataclass(slots=True)
class CellMeasurement:
    """All blocks of one cell in one test."""

    cell: Cell
    plan: CellPlan
    blocks: list[RoundsRecord] = field(default_factory=list)
    memory_blocks: list[RoundsRecord] = field(default_factory=list)
    """Of the memory pass, which is no part of the rounds."""
    sample_blocks: list[RoundsRecord] = field(default_factory=list)
    """Of the samples, one a block; no part of the rounds either."""
    sample_checks: list[list[CheckResult]] = field(default_factory=list)
    """Of each sample that was checked, what its checks found."""
    samples_short: str = ""
    """Why there are fewer samples than planned although nothing is decided; empty if there are not."""
    worker_values: dict[str, float] = field(default_factory=dict)
    """Metrics of scope ``worker`` of the process that measured it, as stored."""
    worker_reasons: dict[str, str] = field(default_factory=dict)
    worker: WorkerRecord | None = None
    """The latest start of the process that measured it."""
    error: ErrorInfo | None = None
    memory_error: ErrorInfo | None = None
    """Why the memory pass failed; the rounds before it are judged all the same."""
    out_of_time: bool = False
    against: str = ""
    """What it was compared with, as people know it; empty if nothing."""
    reference_blocks: list[RoundsRecord] = field(default_factory=list)
    """Of what it is compared with."""
    stored_base: StoredSide | None = None
    """Samples of a baseline, where one of their times is found to have become worse."""
    comparisons: list[ComparisonResult] = field(default_factory=list)
    changed: tuple[str, ...] = ()
    """What differs between the two sides."""
    starts: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Times of starts -> the median of the reference and of the candidate, SI; empty where nothing was compared."""
    provenance: Provenance = "live"
    """``replayed`` or ``resumed``: its blocks are those of an earlier run."""
    resumed_from: str = ""
    """That run, where it was resumed."""
    not_resumed: str = ""
    """Why it was not, where an earlier run holds something of the cell."""
    look: int = 1
    """Which look at the growing sample comes next, from 1."""

    @property
    def rounds(self) -> int:
        """Finished rounds in whole blocks."""
        return sum([block.n for block in self.blocks if block.error is None])

    @property
    def samples(self) -> int:
        """Rounds as a comparison counts them: answers that are taken together are one."""
        return sum(block.n // block.repeats for block in self.whole_blocks)

    @property
    def whole_blocks(self) -> list[RoundsRecord]:
        """Blocks that did not end in an error: the only ones that enter a statistic."""
        return [block for block in self.blocks if block.error is None]

    @property
    def noisy_rounds(self) -> int:
        """How many rounds are marked noisy."""
        return sum([bool(reason) for block in self.whole_blocks for reason in block.noisy])

    def values(self, metric: MetricDef) -> list[float] | Missing:
        """The metric over all rounds in SI units, or why there is none."""
        if metric.scope == "worker":
            stored = self.worker_values.get(metric.name)
            if stored is None:
                return Missing(self.worker_reasons.get(metric.name) or f"{metric.name} was not measured")
            return [metric.to_si(stored)]
        found: list[float] = []
        blocks = self.whole_blocks
        if metric.scope == "memory":
            if self.memory_error is not None:
                return Missing(self.memory_error.message)
            if self.plan.memory_rounds and not self.memory_blocks:
                return Missing("the memory pass was not reached")
            blocks = [block for block in self.memory_blocks if block.error is None] or blocks
        if metric.name in _BY_A_METHOD:
            methods = dict.fromkeys(name for block in blocks for name in block.memory_method.split("+") if name)
            if len(methods) > 1:
                return Missing(
                    f"its rounds were measured by different methods ({', '.join(methods)}), which cannot be compared"
                )
        for block in blocks:
            for value in block.values.get(metric.name, [None] * block.n):
                if value is None:
                    return Missing(block.reasons.get(metric.name) or f"{metric.name} was not measured")
                found.append(metric.to_si(value))
        if found:
            return found
        return Missing(f"no round was measured: {self.error.message}" if self.error else "no round was measured")

    @property
    def contaminated(self) -> list[bool]:
        """Of each round whether it waited for a CPU for so long that its times are rather the machine's than the model's."""
        return [starved for block in self.whole_blocks for starved in _starved(block)]

    def undisturbed(self, metric: MetricDef) -> list[float] | Missing:
        """:meth:`values` without the rounds that waited for a CPU too long, for a metric of the wall clock."""
        found = self.values(metric)
        if isinstance(found, Missing) or not of_the_wall_clock(metric):
            return found
        starved = self.contaminated
        if len(starved) != len(found):
            return found
        return [value for value, was_starved in zip(found, starved, strict=True) if not was_starved]

    def outputs(self, metrics: Iterable[MetricDef] = ()) -> Iterable[CheckInput]:
        """Each distinct output once, for the checks.

        :param metrics: whose numbers, in the first round that gave the output, are handed along.
        """
        wanted = tuple(metrics)
        seen: set[str] = set()
        for block in self.whole_blocks:
            for number, index in enumerate(block.output_of_round):
                text = block.outputs[index]
                if text not in seen:
                    seen.add(text)
                    yield check_input(self.cell, block, number, wanted)


def check_input(cell: Cell, block: RoundsRecord, number: int, metrics: Iterable[MetricDef]) -> CheckInput:
    """What a check gets of one round.

    :param number: of the round within its block.
    :param metrics: whose numbers are handed along.
    """
    index = block.output_of_round[number]
    return CheckInput(
        text=block.outputs[index],
        finish_reason=block.finish_reasons[number],
        special_only=block.special_only,
        prompt=cell.prompt,
        model=cell.model,
        templated=block.templated,
        token_ids=tuple(block.output_token_ids[index]) if block.output_token_ids else (),
        values=_OfRound(block, number, metrics),
    )


class _OfRound(Mapping[str, Number]):
    """The metrics of one round, SI, or why there is none; worked out when they are asked for, as most checks ask for none."""

    __slots__ = ("_block", "_metrics", "_number")

    def __init__(self, block: RoundsRecord, number: int, metrics: Iterable[MetricDef]) -> None:
        self._block, self._number, self._metrics = (
            block,
            number,
            metrics if isinstance(metrics, tuple) else tuple(metrics),
        )

    def _known(self) -> dict[str, MetricDef]:
        return {metric.name: metric for metric in self._metrics if metric.scope == "round"}

    def __getitem__(self, metric: str) -> Number:
        return _of_round(self._block, self._number, self._known()[metric])

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def __repr__(self) -> str:
        return repr(dict(self))


def _of_round(block: RoundsRecord, number: int, metric: MetricDef) -> Number:
    """A metric of one round, SI, or why there is none."""
    column = block.values.get(metric.name)
    value = column[number] if column else None
    if value is None:
        return Missing(block.reasons.get(metric.name) or f"{metric.name} was not measured")
    return metric.to_si(value)


CONTAMINATED_SHARE: Final = 0.2
"""Of the wall time, waiting for a CPU: above it a round is measured again where a budget on time is judged."""


def of_the_wall_clock(metric: MetricDef) -> bool:
    """Whether waiting for a CPU makes the metric worse."""
    clocked = metric.group in ("time", "cost") or (metric.group == "tokens" and metric.unit == "1/s")
    return metric.scope == "round" and clocked


def _starved(block: RoundsRecord) -> list[bool]:
    delays, latencies = (block.values.get(name, [None] * block.n) for name in ("run_delay", "latency"))
    return [
        delay is not None and latency is not None and delay > CONTAMINATED_SHARE * latency
        for delay, latency in zip(delays, latencies, strict=True)
    ]


_BY_A_METHOD: Final = frozenset({"peak_rss", "peak_rss_delta"})
"""Metrics whose numbers depend on how they were measured: ``memory_method``."""
Measure = Callable[[CellMeasurement, int], None]
"""Measures that many further rounds of the cell and adds the block; stops the cell by setting ``error``."""
MeasureMemory = Callable[[CellMeasurement], None]
"""Makes the memory pass of the cell; a failure is set as ``memory_error``."""
IsUndecided = Callable[[CellMeasurement], bool]
"""Whether a budget of the cell needs more rounds."""
MeasureSample = Callable[[CellMeasurement], None]
"""Draws one further sample of the cell and adds its block; stops the cell by setting ``error``."""
NeedsSample = Callable[[CellMeasurement], bool]
"""Whether the samples so far leave it open how often the cell passes."""
OUT_OF_TIME: Final = "out of time (--llmci-time-limit)"


class Schedule:
    """Works off the groups."""

    def __init__(
        self, measure: Measure, measure_memory: MeasureMemory, undecided: IsUndecided, out_of_time: Callable[[], bool], *,
        sample: MeasureSample = lambda _: None, needs_sample: NeedsSample = lambda _: False,
    ) -> None:  # fmt: skip
        self._measure = measure
        self._measure_memory = measure_memory
        self._undecided = undecided
        self._out_of_time = out_of_time
        self._sample = sample
        self._needs_sample = needs_sample
        self._groups: dict[str, dict[str, tuple[Cell, CellPlan]]] = {}
        self._done: dict[str, set[str]] = {}

    def select(self, cells: Mapping[str, tuple[Cell, CellPlan]]) -> None:
        """Say which cells the session will measure.

        :param cells: node id of the test -> its cell.
        """
        for test, (cell, plan) in cells.items():
            self._groups.setdefault(cell.model.alias, {})[test] = (cell, plan)

    def group(self, alias: str) -> Mapping[str, tuple[Cell, CellPlan]]:
        """The selected cells of a model, by the test that asks for each."""
        return self._groups.get(alias, {})

    @property
    def selected(self) -> int:
        """How many cells the session will measure."""
        return sum(map(len, self._groups.values()))

    def left_in_group(self, alias: str) -> int:
        """How many of the model's selected cells have not been measured."""
        cells = {cell.id for cell, _ in self._groups.get(alias, {}).values()}
        return len(cells) - len(self._done.get(alias, ()))

    def measure(self, cell: Cell, plan: CellPlan) -> CellMeasurement:
        """Measure one cell of its group."""
        return self.complete(CellMeasurement(cell=cell, plan=plan))

    def complete(self, measurement: CellMeasurement) -> CellMeasurement:
        """Measure what a cell lacks: the planned rounds, more while a budget is undecided, samples, and the memory pass."""
        cell, plan = measurement.cell, measurement.plan
        missing = plan.rounds - measurement.rounds
        if missing > 0 and measurement.error is None:
            if self._out_of_time():
                measurement.out_of_time = True
                return measurement
            self._measure(measurement, missing)
            self._measure_again(measurement)
        while measurement.error is None and measurement.rounds < plan.max_rounds and self._undecided(measurement):
            if self._out_of_time():
                measurement.out_of_time = True
                break
            measurement.look += 1
            self._measure(measurement, min(plan.block, plan.max_rounds - measurement.rounds))
        self._draw_samples(measurement)
        if plan.memory_rounds and measurement.error is None and not measurement.out_of_time:
            if self._out_of_time():
                measurement.out_of_time = True
            else:
                self._measure_memory(measurement)
        self.note_done(cell)
        return measurement

    def note_done(self, cell: Cell) -> None:
        """Nothing is left to be measured of a cell."""
        self._done.setdefault(cell.model.alias, set()).add(cell.id)

    def _draw_samples(self, measurement: CellMeasurement) -> None:
        """One after the other until they decide, or as many as there may be."""
        while measurement.error is None and self._needs_sample(measurement):
            if measurement.out_of_time or self._out_of_time():
                measurement.samples_short = OUT_OF_TIME
                return
            self._sample(measurement)

    def _measure_again(self, measurement: CellMeasurement) -> None:
        """As many rounds more as waited for a CPU too long, where a budget on time is judged; those stay in the log."""
        plan = measurement.plan
        timed = any(budget.statistical and of_the_wall_clock(budget.metric) for budget in plan.budgets)
        again = min(sum(measurement.contaminated), plan.max_rounds - measurement.rounds) if timed else 0
        if again > 0 and measurement.error is None and not self._out_of_time():
            self._measure(measurement, again)
