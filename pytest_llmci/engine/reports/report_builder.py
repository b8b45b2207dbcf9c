"""Makes the report of a run from its log alone, whoever wrote that.

The last attempt is taken for each pair of test and cell, among what was measured for it; a rerun that measured
nothing leaves the numbers of the one before. The verdict of a pair is the one of its highest attempt. A record that
arrived twice (the same ``uid``) is taken once. The order of lines plays no other part, so that records of parallel test
processes may be mixed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ...errors import StoreError
from ...records import (
    BenchmarkRecord,
    ErrorInfo,
    FooterRecord,
    GateRecord,
    HeaderRecord,
    Json,
    LoadRecord,
    LogRecord,
    Price,
    PublishedScore,
    QuestionsRecord,
    RoundsRecord,
    ShardRecord,
    VerdictRecord,
    WorkerRecord,
)
from ...store.log import LOG_NAME, LogReader
from ..answers import Answers, TaskSummary
from .columns import Block, Columns, MetricTable
from .report import CellSummary, ModelSummary, Output, SessionReport

_DEATHS: Final = frozenset({"crashed", "timeout", "protocol"})
"""Kinds of error after which the model's process is gone."""


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
        self.lines += 1
        if isinstance(
            record, (RoundsRecord, VerdictRecord, WorkerRecord, QuestionsRecord, LoadRecord, BenchmarkRecord)
        ):
            if record.uid not in self._uids:
                self._uids.add(record.uid)
                self._take_new(record)
        elif isinstance(record, HeaderRecord):
            self.header, self.table = record, MetricTable(record.metrics)
        elif isinstance(record, FooterRecord):
            self.footer = record
        elif isinstance(record, GateRecord):
            self.gates.append(record)
        elif isinstance(record, ShardRecord):
            self.shard = record
        # AnswersRecord: counted in lines of their own when all are there

    def _take_new(
        self, record: RoundsRecord | VerdictRecord | WorkerRecord | QuestionsRecord | LoadRecord | BenchmarkRecord
    ) -> None:
        if isinstance(record, RoundsRecord):
            self._take_rounds(record, self._of_model(record.model))
        elif isinstance(record, VerdictRecord):
            self._of_model(record.model)
            key = self._key(record.test, record.cell)
            judged = self.verdicts.get(key)
            if judged is None or record.attempt >= judged.attempt:
                self.verdicts[key] = record
        elif isinstance(record, WorkerRecord):
            if record.role != "judge":  # it may be no model of the session
                self._take_worker(record, self._of_model(record.model))
        elif isinstance(record, QuestionsRecord):
            self._of_model(record.model)
            if record.origin in ("measured", "replay"):
                self.answers.setdefault(self._key(record.test, record.cell), Answers()).take(record)
        elif isinstance(record, LoadRecord):
            self.loads.append(record)
        else:
            there = self.benchmarks.get(record.test)
            if there is None or record.attempt >= there.attempt:
                self.benchmarks[record.test] = record

    def _of_model(self, alias: str) -> _Workers:
        """What is known of the processes of a model, which is one of the run from the first line on that names it."""
        workers = self.workers.get(alias)
        if workers is None:
            workers = self.workers[self.table.text(alias)] = _Workers()
        return workers

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
        self._learn(workers, record.values)
        workers.reasons.update(record.reasons)

    def _learn(self, workers: _Workers, stored: dict[str, float]) -> None:
        for metric, value in stored.items():
            if metric in self.table.defs:
                workers.values.setdefault(metric, []).append(self.table.defs[metric].to_si(value))

    def _take_rounds(self, record: RoundsRecord, workers: _Workers) -> None:
        if record.worker and record.error is not None and record.error.kind in _DEATHS:
            workers.dead.add(record.worker)  # one that died while loading has a record of its own
        if record.origin != "reference":
            self._learn(workers, record.worker_values)
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
