"""The finished run as numbers: built from the log alone, so that every table, file and plot says the same.

What counts. A block of rounds enters statistics if its status is ``ok``:

``ok``           measured under the schedule, finished, of the last attempt
``memory``       of the memory pass: enters the statistics of the metrics that are measured there, and no other
``sample``       one of a cell's samples: listed, in no statistic; the verdict tells how many passed
``call``         a single ``llm.generate()`` in a test body: listed, in no statistic
``unused``       its block ended early: the finished rounds are listed, in no statistic
``superseded``   from a run of the test that was repeated later

The last attempt is taken for each pair of test and cell, among what was measured for it; a rerun that measured
nothing leaves the numbers of the one before. The verdict of a pair is the one of its highest attempt. A record that
arrived twice (the same ``uid``) is taken once. The order of lines plays no other part, so that records of parallel test
processes may be mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from ..errors import StoreError, UnknownNameError
from ..metrics import MetricDef
from ..records import (
    AnswersRecord,
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
    LogRecord,
    Missing,
    Number,
    Price,
    Provenance,
    PublishedScore,
    QuestionsRecord,
    RoundsRecord,
    SampleResult,
    ShardRecord,
    SlowdownResult,
    Verdict,
    VerdictRecord,
    WorkerRecord,
)
from ..stats.summary import Summary, summarise
from ..store.encoding import spelled
from ..store.log import LOG_NAME, LogReader
from .answers import Answers, BenchmarkScore, TaskSummary, benchmark_scores
from .columns import Block, Columns, MetricTable, samples_of

BlockStatus: TypeAlias = Literal["ok", "memory", "reference", "call", "sample", "unused", "superseded"]
_DEATHS: Final = frozenset({"crashed", "timeout", "protocol"})
"""Kinds of error after which the model's process is gone."""

# ------------------------------------------------------------------------------------------------------------ summaries


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


# ------------------------------------------------------------------------------------------------------------ building


def replayed_run(settings: Mapping[str, Json]) -> str:
    """Name of the run that a run with these settings in its header judged again; empty where it measured."""
    return str(settings.get("replayed_run") or "") if settings.get("provenance") == "replayed" else ""


def build_report(run_folder: Path) -> SessionReport:
    """Read a run folder's log into a report. Memory: eight bytes a number, and about 3 kB a cell.

    :raises LogTamperedError: if a line is not what was written.
    :raises StoreError: if the log cannot be read or has no header.
    """
    reader = LogReader(run_folder / LOG_NAME)
    builder = ReportBuilder()
    for record in reader:
        builder.take(record)
    return builder.build(run_folder, digest=reader.digest)


class _Pair:
    """What was measured for one cell in one test."""

    __slots__ = (
        "attempt",
        "blocks",
        "columns",
        "error",
        "load",
        "model",
        "noisy",
        "outputs",
        "prompt",
        "prompt_id",
        "provenance",
        "repeats",
        "templated",
        "variables",
    )

    def __init__(self, block: Block, table: MetricTable) -> None:
        self.model, self.prompt_id, self.prompt = block.model, block.prompt_id, block.prompt
        self.provenance, self.load = block.provenance, block.load
        self.templated, self.variables = block.templated, block.variables
        self.blocks = 0
        self._start(block.attempt, table)

    def _start(self, attempt: int, table: MetricTable) -> None:
        self.attempt = attempt
        self.columns = Columns(table)
        self.noisy = 0
        self.repeats = 1
        self.outputs: dict[str, Output] = {}
        self.error: ErrorInfo | None = None

    def take(self, block: Block, table: MetricTable) -> None:
        if block.origin == "reference":
            return
        self.blocks += 1
        self.templated |= block.templated
        if block.attempt > self.attempt:
            self._start(block.attempt, table)
        if block.attempt < self.attempt:
            return
        if block.error is not None:
            self.error = block.error
            return
        if block.origin == "sample":
            return
        if block.origin != "call":
            self.columns.add(block)
        if block.origin == "memory":
            return
        if block.origin == "measured":
            self.repeats = max(self.repeats, block.repeats)
            self.noisy += sum(map(bool, block.noisy))
        for place, reason in zip(block.output_of_round, block.finish_reasons, strict=bool(block.outputs)):
            digest = block.output_sha256[place]  # two texts with a secret in each may be one without it
            if digest not in self.outputs:
                self.outputs[digest] = Output(block.outputs[place], block.md5[place], digest, reason)


@dataclass(slots=True)
class _Workers:
    """What is known of the processes of one model."""

    spec: str = ""
    starts: int = 0
    info: dict[str, Json] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    published: PublishedScore | None = None
    price: Price | None = None


class ReportBuilder:
    """Makes a report of the records of a log.

    A session that writes a log hands it each record as it goes; who has only the log calls :func:`build_report`.
    """

    def __init__(self) -> None:
        self.lines = 0
        """Records taken."""
        self.header: HeaderRecord | None = None
        self.table = MetricTable(())
        self.blocks: list[Block] = []
        self.pairs: dict[tuple[str, str], _Pair] = {}
        self.verdicts: dict[tuple[str, str], VerdictRecord] = {}
        self.workers: dict[str, _Workers] = {}
        self.gates: list[GateRecord] = []
        self.benchmarks: dict[str, BenchmarkRecord] = {}
        self.loads: list[LoadRecord] = []
        self.answers: dict[tuple[str, str], Answers] = {}
        self.footer: FooterRecord | None = None
        self.shard: ShardRecord | None = None
        """Which part of a matrix it is; None where it is the whole."""
        self._uids: set[str] = set()

    def take(self, record: LogRecord) -> None:
        """Take the record of the next line."""
        if isinstance(record, HeaderRecord):
            self.header, self.table = record, MetricTable(record.metrics)
        elif isinstance(record, FooterRecord):
            self.footer = record
        elif isinstance(record, GateRecord):
            self.gates.append(record)
        elif isinstance(record, AnswersRecord):
            pass  # counted in lines of their own when all are there
        elif isinstance(record, ShardRecord):
            self.shard = record
        elif record.uid not in self._uids:
            self._uids.add(record.uid)
            self._take_new(record)
        self.lines += 1

    def _take_new(
        self, record: WorkerRecord | RoundsRecord | LoadRecord | QuestionsRecord | VerdictRecord | BenchmarkRecord
    ) -> None:
        if isinstance(record, LoadRecord):
            self.loads.append(record)
            return
        if isinstance(record, BenchmarkRecord):
            there = self.benchmarks.get(record.test)
            if there is None or record.attempt >= there.attempt:
                self.benchmarks[record.test] = record
            return
        if isinstance(record, WorkerRecord) and record.role == "judge":  # it may be no model of the session
            return
        workers = self.workers.get(record.model)
        if workers is None:
            workers = self.workers[self.table.text(record.model)] = _Workers()
        if isinstance(record, RoundsRecord):
            if record.worker and record.error is not None and record.error.kind in _DEATHS:
                workers.dead.add(record.worker)  # one that died while loading has a record of its own
            self._take_rounds(record)
        elif isinstance(record, QuestionsRecord):
            if record.origin in ("measured", "replay"):
                self.answers.setdefault(self._key(record.test, record.cell), Answers()).take(record)
        elif isinstance(record, WorkerRecord):
            self._take_worker(record, workers)
        else:
            key = self._key(record.test, record.cell)
            judged = self.verdicts.get(key)
            if judged is None or record.attempt >= judged.attempt:
                self.verdicts[key] = record

    def _key(self, test: str, cell: str) -> tuple[str, str]:
        return self.table.text(test), self.table.text(cell)

    def _take_worker(self, record: WorkerRecord, workers: _Workers) -> None:
        if record.role == "reference":  # of something else than the model, beside it
            return
        workers.spec = record.spec.text
        workers.starts += 1
        workers.published = record.published or workers.published
        workers.price = record.price or workers.price
        if record.error is not None and record.error.kind in _DEATHS:
            workers.dead.add(record.uid)
        if record.role == "memory":  # its allocator is slow on purpose: its times are nobody's
            return
        if record.info:
            workers.info = record.info
        self._learn(record.model, record.values)
        workers.reasons.update(record.reasons)

    def _learn(self, model: str, stored: dict[str, float]) -> None:
        values = self.workers[model].values
        for metric, value in stored.items():
            if metric in self.table.defs:
                values.setdefault(metric, []).append(self.table.defs[metric].to_si(value))

    def _take_rounds(self, record: RoundsRecord) -> None:
        if record.origin != "reference":
            self._learn(record.model, record.worker_values)
        block = Block.of(record, self.table)
        self.blocks.append(block)
        key = (block.test, block.cell)
        pair = self.pairs.get(key)
        if pair is None:
            pair = self.pairs[key] = _Pair(block, self.table)
        pair.take(block, self.table)

    def build(self, folder: Path, *, digest: str) -> SessionReport:
        """The report; the builder is not used again.

        :param folder: the run folder.
        :param digest: of the log's last line.
        :raises StoreError: if there was no header.
        """
        if self.header is None:
            raise StoreError(f"{folder / LOG_NAME} has no header.")
        if not any(block.load for block in self.blocks):  # their columns would be empty in every table
            self.table.leave_out("load")
            self.header = replace(self.header, metrics=[*self.table.defs.values()])
        last_attempts = {key: pair.attempt for key, pair in self.pairs.items() if pair.attempt}
        tasks = self.tasks()
        self.verdicts = {key: verdict for key, verdict in self.verdicts.items() if not verdict.task}
        cells = self._cells()
        by_model: dict[str, list[CellSummary]] = {alias: [] for alias in self.workers}
        for cell in cells:
            by_model[cell.model].append(cell)
        return SessionReport(
            folder=folder,
            header=self.header,
            models=tuple(self._model(alias, tuple(own), tasks) for alias, own in by_model.items()),
            cells=cells,
            blocks=tuple(self.blocks),
            gates=tuple(self.gates),
            tasks=tasks,
            benchmarks=tuple(self.benchmarks.values()),
            loads=self._loads(last_attempts),
            footer=self.footer,
            lines=self.lines,
            digest=digest,
            last_attempts=last_attempts,
        )

    def _loads(self, last_attempts: dict[tuple[str, str], int]) -> tuple[LoadRecord, ...]:
        whole = {block.uid for block in self.blocks if block.error is None and block.origin == "measured"}
        return tuple(
            each for each in self.loads
            if each.block in whole and each.attempt >= last_attempts.get((each.test, each.cell), 0)
        )  # fmt: skip

    def tasks(self) -> tuple[TaskSummary, ...]:
        """The benchmark tasks so far."""
        judged = {key: verdict for key, verdict in self.verdicts.items() if verdict.task}
        return tuple(
            self._task(key, self.answers.get(key), judged.get(key)) for key in dict.fromkeys([*self.answers, *judged])
        )

    def _task(self, key: tuple[str, str], answers: Answers | None, verdict: VerdictRecord | None) -> TaskSummary:
        told = answers.records[0] if answers is not None else verdict
        assert told is not None  # every key comes from one of the two
        return TaskSummary(
            cell=key[1], test=key[0], model=self.table.text(told.model),
            name=answers.facts.name if answers is not None else verdict.task if verdict is not None else "",
            verdict=verdict.verdict if verdict else None, error=verdict.error if verdict else None,
            budgets=tuple(verdict.budgets) if verdict else (), comparisons=tuple(verdict.comparisons) if verdict else (),
            answers=answers, not_resumed=verdict.not_resumed if verdict else "",
        )  # fmt: skip

    def _model(self, alias: str, cells: tuple[CellSummary, ...], tasks: tuple[TaskSummary, ...]) -> ModelSummary:
        workers = self.workers[alias]
        return ModelSummary(
            alias=alias,
            spec=workers.spec,
            cells=cells,
            starts=workers.starts,
            deaths=len(workers.dead),
            info=workers.info,
            metrics=self.table.defs,
            worker_values=workers.values,
            worker_reasons=workers.reasons,
            published=workers.published,
            price=workers.price,
            tasks=tuple(task for task in tasks if task.model == alias),
        )

    def _cells(self) -> tuple[CellSummary, ...]:
        """One summary a pair of test and cell, in the order in which the pairs were first measured, then judged."""
        self._lend_blocks()
        keys = dict.fromkeys([*self.pairs, *self.verdicts])
        return tuple(self._cell(key, self.pairs.pop(key, None), self.verdicts.pop(key, None)) for key in keys)

    def _lend_blocks(self) -> None:
        """Give what one test measured for others to the tests that judge it.

        Where a model's cells are measured together, one test asks for the blocks of all of them; a verdict without
        blocks of its own takes those that were measured for its cell and that no verdict of the asking test claims.
        """
        unclaimed = {key[1]: key for key in self.pairs if key not in self.verdicts}
        for key in [key for key in self.verdicts if key not in self.pairs]:
            lender = unclaimed.pop(key[1], None)
            if lender is not None:
                self.pairs[key] = self.pairs.pop(lender)

    def _cell(self, key: tuple[str, str], pair: _Pair | None, verdict: VerdictRecord | None) -> CellSummary:
        measured = pair or verdict
        assert measured is not None  # every key comes from one of the two
        columns = pair.columns if pair else Columns(self.table)
        return CellSummary(
            id=key[1],
            model=self.table.text(measured.model),
            prompt_id=self.table.text(measured.prompt_id),
            test=key[0],
            verdict=verdict.verdict if verdict else None,
            attempt=verdict.attempt if verdict else 0,
            checks=tuple(verdict.checks) if verdict else (),
            budgets=tuple(verdict.budgets) if verdict else (),
            comparisons=tuple(verdict.comparisons) if verdict else (),
            samples=verdict.samples if verdict else None,
            provenance=verdict.provenance if verdict else pair.provenance if pair else "live",
            resumed_from=verdict.resumed_from if verdict else "",
            not_resumed=verdict.not_resumed if verdict else "",
            slowdown=verdict.slowdown if verdict else None,
            error=(verdict.error if verdict else None) or (pair.error if pair and not verdict else None),
            rounds=columns.rounds,
            noisy_rounds=pair.noisy if pair else 0,
            repeats=pair.repeats if pair else 1,
            blocks=pair.blocks if pair else 0,
            prompt=pair.prompt if pair else "",
            templated=pair.templated if pair else False,
            variables=pair.variables if pair else {},
            outputs=tuple(pair.outputs.values()) if pair else (),
            columns=columns,
            load=pair.load if pair else "",
        )
