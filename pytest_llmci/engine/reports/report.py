"""The finished run as numbers: every table, file and plot says what is here. :mod:`.report_builder` makes it of the log.

What counts. A block of rounds enters statistics if its status is ``ok``:

``ok``           measured under the schedule, finished, of the last attempt
``memory``       of the memory pass: enters the statistics of the metrics that are measured there, and no other
``sample``       one of a cell's samples: listed, in no statistic; the verdict tells how many passed
``call``         a single ``llm.generate()`` in a test body: listed, in no statistic
``unused``       its block ended early: the finished rounds are listed, in no statistic
``superseded``   from a run of the test that was repeated later
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ...errors import UnknownNameError
from ...metrics import MetricDef
from ...records import (
    BenchmarkRecord,
    BudgetResult,
    CheckResult,
    ComparisonResult,
    ErrorInfo,
    FooterRecord,
    GateRecord,
    HeaderRecord,
    Json,
    LoadRecord,
    Missing,
    Number,
    Price,
    Provenance,
    PublishedScore,
    SampleResult,
    SlowdownResult,
    Verdict,
)
from ...stats.summary import Summary, summarise
from ...store.encoding import spelled
from ..answers import BenchmarkScore, TaskSummary, benchmark_scores
from .columns import Block, Columns, samples_of

BlockStatus: TypeAlias = Literal["ok", "memory", "reference", "call", "sample", "unused", "superseded"]


class Output(NamedTuple):
    """One answer of a cell; equal ones are listed once."""

    text: str
    md5: str
    """Of model, prompt and output."""
    sha256: str
    """Of the output alone."""
    finish_reason: str
    """Of the first round that gave it."""


@dataclass(frozen=True, kw_only=True)
class CellSummary:
    """One cell as one test measured and judged it."""

    id: str
    model: str
    """Alias."""
    prompt_id: str
    test: str
    """Node id."""
    verdict: Verdict | None
    """None: never judged, as where the session was killed."""
    attempt: int
    """Of the verdict: 0 unless the test was rerun."""
    checks: tuple[CheckResult, ...]
    budgets: tuple[BudgetResult, ...]
    comparisons: tuple[ComparisonResult, ...]
    error: ErrorInfo | None
    """Why measuring failed."""
    samples: SampleResult | None
    """What its sampled outputs say; None where there are none."""
    provenance: Provenance
    resumed_from: str
    """Run that measured it, where it was taken over; empty where this session did."""
    not_resumed: str
    """Why it was not, where an earlier run holds something of it."""
    slowdown: SlowdownResult | None
    """Where a time that became worse lies; None where none did."""
    rounds: int
    """Measured rounds that count."""
    noisy_rounds: int
    """Of these."""
    repeats: int
    """Most of these that make one sample of a comparison together, as each alone is too short to be timed; 1 where none is."""
    blocks: int
    """Blocks of any status in the log; 0 where the model never answered."""
    prompt: str
    """As people see it; empty where nothing was asked."""
    templated: bool
    """Whether it went through the model's chat template."""
    variables: Mapping[str, str]
    """What was put into the placeholders of its template."""
    outputs: tuple[Output, ...] = field(repr=False)
    """The distinct answers of the rounds that count, or of single calls, in the order of measuring."""
    columns: Columns = field(repr=False)
    load: str = ""
    """The scenario of a cell under load, each of whose rounds is a run of many requests; empty for all others."""

    def values(self, metric: str) -> list[float]:
        """The sample of a metric, SI, in the order of measuring."""
        return self.columns.values(metric)

    def summary(self, metric: str) -> Summary:
        """The statistics of a metric, SI; all missing, with the reason, where nothing was measured."""
        return self.summarised(metric, self.values(metric))

    def summarised(self, metric: str, values: list[float]) -> Summary:
        """:meth:`summary` of a sample that was taken from the columns before."""
        return summarise(values, reason="" if values else self.why_missing(metric))

    def why_missing(self, metric: str) -> str:
        """Why the sample of a metric is empty, where the log says it; else empty."""
        if self.rounds:
            return self.columns.reasons.get(metric, f"{metric} was not measured")
        return self.error.message if self.error else ""

    @cached_property
    def length_mismatches(self) -> int:
        """Rounds whose answer has not the cell's usual number of tokens: their latencies are of another amount of work."""
        if self.rounds < 2:
            return 0
        lengths = self.values("output_tokens")
        return len(lengths) - max(Counter(lengths).values(), default=0)

    @property
    def checked(self) -> bool:
        """True if its output was judged, or there was none to judge."""
        return bool(self.checks) or self.error is not None

    @property
    def valid(self) -> bool:
        """True if its output passed every check."""
        return bool(self.checks) and all(check.passed for check in self.checks)


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """One model over all its cells."""

    alias: str
    spec: str
    """As the user wrote it; empty where its process was never started."""
    cells: tuple[CellSummary, ...] = field(repr=False)
    starts: int
    """Starts of its process."""
    deaths: int
    """Processes that crashed, hung or talked nonsense."""
    info: dict[str, Json] = field(repr=False)
    """What the backend said of the model when it was last loaded."""
    metrics: dict[str, MetricDef] = field(repr=False)
    worker_values: dict[str, list[float]] = field(repr=False)
    """Metric of scope ``worker`` -> SI value of each start that has one."""
    worker_reasons: dict[str, str] = field(repr=False)
    published: PublishedScore | None = None
    """Benchmark score that somebody else measured; None where none was joined."""
    price: Price | None = None
    """What it costs; None where no price was chosen."""
    tasks: tuple[TaskSummary, ...] = field(default=(), repr=False)
    """Its benchmark tasks."""

    @cached_property
    def scores(self) -> list[BenchmarkScore]:
        """What it reached in each benchmark that was answered to its end; not all of them may be called its score."""
        return benchmark_scores(self.tasks)

    @property
    def measured_scores(self) -> list[BenchmarkScore]:
        """Those that may be."""
        return [score for score in self.scores if score.whole]

    def values(self, metric: str) -> list[float]:
        """The sample of a metric over all rounds that count, or over all starts, SI.

        :raises UnknownNameError: if the log's header does not define the metric.
        """
        if metric not in self.metrics:
            raise UnknownNameError.build(f"model {self.alias}", "metric", metric, self.metrics)
        if self.metrics[metric].scope == "worker":
            return self.worker_values.get(metric, [])
        if self.metrics[metric].scope == "task":
            return [score.per_cent for score in self.measured_scores]
        return [value for cell in self.cells for value in cell.values(metric)]

    def summary(self, metric: str) -> Summary:
        """The statistics of a metric, SI; all missing, with the reason, where nothing was measured.

        :raises UnknownNameError: if the log's header does not define the metric.
        """
        if metric not in self.metrics:
            raise UnknownNameError.build(f"model {self.alias}", "metric", metric, self.metrics)
        return self.summaries[metric]

    def _summarised(self, metric: str, values: list[float]) -> Summary:
        return summarise(values, of="this model", reason="" if values else self._reason(metric))

    @cached_property
    def statistics(self) -> dict[str, dict[str, float]]:
        """Metric -> statistic -> number, for every metric of the run and every statistic that its sample carries."""
        return {name: summary.numbers() for name, summary in self.summaries.items()}

    @cached_property
    def spelt(self) -> dict[str, tuple[str, ...]]:
        """:attr:`statistics` as text, in the same order and in the fewest digits: several files hold them."""
        texts = iter(spelled([number for numbers in self.statistics.values() for number in numbers.values()]))
        return {name: tuple(islice(texts, len(numbers))) for name, numbers in self.statistics.items()}

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """Metric -> :meth:`summary`, for every metric of the run: all of them in one go."""
        samples = samples_of([cell.columns for cell in self.cells])
        return {
            name: self._summarised(name, samples.get(name, []) if metric.of_rounds else self.values(name))
            for name, metric in self.metrics.items()
        }

    def _reason(self, metric: str) -> str:
        if self.metrics[metric].scope == "task":
            parts = [f"{score.suite}: {score.label}" for score in self.scores]
            return f"no whole benchmark was run ({'; '.join(parts)})" if parts else "no benchmark task was run"
        if metric in self.worker_reasons:
            return self.worker_reasons[metric]
        reasons = (cell.columns.reasons[metric] for cell in self.cells if metric in cell.columns.reasons)
        return next(reasons, "")

    def _worker_value(self, metric: str) -> Number:
        if metric in self.metrics:
            return self.summary(metric).median
        return Missing(f"{metric} is not measured in this run")

    @property
    def facts(self) -> dict[str, Json]:
        """:attr:`info` for people: of the files of a hub's commit, which may be hundreds, their number."""
        files = self.info.get("snapshot_files")
        return {**self.info, "snapshot_files": len(files)} if isinstance(files, list) else dict(self.info)

    @property
    def load_time(self) -> Number:
        """Seconds until the model was ready: the median over its starts."""
        return self._worker_value("load_time")

    @property
    def footprint(self) -> Number:
        """Bytes of its parameters and buffers: the median over its starts."""
        return self._worker_value("model_footprint")

    @cached_property
    def rounds(self) -> int:
        """Measured rounds that count."""
        return sum(cell.rounds for cell in self.cells)

    @cached_property
    def noisy_rounds(self) -> int:
        """Of these, the noisy ones."""
        return sum(cell.noisy_rounds for cell in self.cells)

    @cached_property
    def length_mismatches(self) -> int:
        """Rounds that count whose answer has not its cell's usual number of tokens."""
        return sum(cell.length_mismatches for cell in self.cells)

    @cached_property
    def valid_cells(self) -> int:
        """Cells whose output passed every check."""
        return sum(cell.valid for cell in self.cells)

    @cached_property
    def checked_cells(self) -> int:
        """Cells whose output was judged, or that had none."""
        return sum(cell.checked for cell in self.cells)

    @cached_property
    def failed_cells(self) -> int:
        """Cells with the verdict ``failed``."""
        return sum(cell.verdict == "failed" for cell in self.cells)

    @cached_property
    def inconclusive_cells(self) -> int:
        """Cells with the verdict ``inconclusive``."""
        return sum(cell.verdict == "inconclusive" for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class SessionReport:
    """A run, as its log tells it."""

    folder: Path
    header: HeaderRecord
    models: tuple[ModelSummary, ...]
    """In the order in which they appear in the log, as the cells."""
    cells: tuple[CellSummary, ...] = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    """Every block of the log once, in its order, whatever its :meth:`status`."""
    gates: tuple[GateRecord, ...]
    tasks: tuple[TaskSummary, ...] = field(repr=False)
    """Benchmark tasks, one a test."""
    benchmarks: tuple[BenchmarkRecord, ...]
    """What other tools measured around models, one a test: of its last attempt."""
    loads: tuple[LoadRecord, ...] = field(repr=False)
    """Runs under load, request by request, of blocks that count, in the order of measuring."""
    footer: FooterRecord | None
    """None where the session still runs or was killed."""
    lines: int
    """Lines of the log."""
    digest: str
    """Of its last line: two logs with the same digest are the same."""
    last_attempts: dict[tuple[str, str], int] = field(repr=False)
    """(test, cell) -> the attempt whose blocks count, where it is not the first."""

    @property
    def recovered(self) -> bool:
        """True if the session was killed and the log closed later."""
        return self.footer is not None and self.footer.recovered

    @property
    def metrics(self) -> list[MetricDef]:
        """The definitions in force, in the header's order."""
        return self.header.metrics

    @property
    def replayed_run(self) -> str:
        """Name of the run whose outputs and numbers were judged again; empty where this run measured."""
        return replayed_run(self.header.settings)

    @property
    def provenance(self) -> Provenance:
        """Where the numbers come from."""
        told = self.header.settings.get("provenance")
        return "replayed" if told == "replayed" else "imported" if told == "imported" else "live"

    def model(self, alias: str) -> ModelSummary:
        """The model of that alias.

        :raises UnknownNameError: if the run has none.
        """
        for model in self.models:
            if model.alias == alias:
                return model
        raise UnknownNameError.build("report", "model", alias, [model.alias for model in self.models])

    def status(self, block: Block) -> BlockStatus:
        """What a block counts as; see the module's text."""
        if block.error is not None:
            return "unused"
        if block.origin == "call":
            return "call"
        if block.attempt < self.last_attempts.get((block.test, block.cell), 0):
            return "superseded"
        return "ok" if block.origin == "measured" else block.origin

    def count(
        self, kind: Literal["rounds", "noisy", "other_length", "valid", "checked", "failed", "inconclusive", "deaths"]
    ) -> int:
        """A total over all models: rounds that count, noisy ones, of another length, cells by their state, deaths of processes."""
        by_kind: dict[str, Callable[[ModelSummary], int]] = {
            "rounds": lambda model: model.rounds,
            "noisy": lambda model: model.noisy_rounds,
            "other_length": lambda model: model.length_mismatches,
            "valid": lambda model: model.valid_cells,
            "checked": lambda model: model.checked_cells,
            "failed": lambda model: model.failed_cells,
            "inconclusive": lambda model: model.inconclusive_cells,
            "deaths": lambda model: model.deaths,
        }
        return sum(map(by_kind[kind], self.models))


def replayed_run(settings: Mapping[str, Json]) -> str:
    """Name of the run that a run with these settings in its header judged again; empty where it measured."""
    return str(settings.get("replayed_run") or "") if settings.get("provenance") == "replayed" else ""
