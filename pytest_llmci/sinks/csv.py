"""``results.csv``: one row a round, and ``summary.csv``: one row a model.

RFC 4180 with UTF-8, so that texts with quotes, line breaks and control characters come back as they were. A text that a
spreadsheet would run as a formula gets an apostrophe in front, and so does one that begins with an apostrophe:
:func:`unguard_text` is exact.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from ..engine.reports.columns import Block
from ..engine.reports.report import BlockStatus, CellSummary, ModelSummary, SessionReport
from ..errors import SinkError
from ..metrics import MetricDef
from ..records import Provenance
from ..store.encoding import spelled
from ..store.runfolder import replacing

PAPER_COLUMNS: Final = ("model", "prompt", "output", "latency_ms", "memory_mb", "cpu_percent", "hash")
OWN_COLUMNS: Final = (
    "cell", "prompt_id", "test", "round", "status", "reason", "worker", "noisy", "finish_reason", "seed", "provenance",
)  # fmt: skip
PAPER_SUMMARY: Final = (
    "model", "avg_latency", "min_latency", "max_latency", "std_latency", "avg_memory", "avg_cpu", "benchmark_score",
)  # fmt: skip
OWN_SUMMARY: Final = (
    "spec", "cells", "valid_cells", "failed_cells", "inconclusive_cells", "rounds", "noisy_rounds", "length_mismatches", "worker_starts",
    "worker_deaths", "benchmark_score_source", "provenance",
)  # fmt: skip
SUMMARY_STATISTICS: Final = ("n", "min", "median", "mean", "std", "p95", "max")
_GUARDED: Final = frozenset("=+-@\t\r\n'＝＋－＠")  # the full-width forms start formulas too
_MEGABYTE: Final = 10**6  # the paper's MB
_COUNTED: Final = frozenset({"B", "1"})
_AT_ONCE: Final = 256
"""Rows that are handed to the file together."""
_REASONS: Final[dict[BlockStatus, str]] = {
    "ok": "",
    "memory": "of the memory pass: only memory counts",
    "reference": "of what the cell is compared with",
    "call": "a single call: in no statistic",
    "sample": "a sample: checked, in no statistic",
    "unused": "its block ended early: in no statistic",
    "superseded": "the test was rerun: in no statistic",
}
_Field = str | int | float | None


def guard_text(text: str) -> str:
    """The text with an apostrophe in front if a spreadsheet would run it, or if it begins with one.

    >>> guard_text("=1+1"), guard_text("'quoted'"), guard_text("plain")
    ("'=1+1", "''quoted'", 'plain')
    """
    return "'" + text if text and text[0] in _GUARDED else text


def unguard_text(text: str) -> str:
    """What :func:`guard_text` was given.

    >>> unguard_text("'=1+1")
    '=1+1'
    """
    return text.removeprefix("'")


class CsvSink:
    """Writes both files.

    :param target: the folder to write to; empty for the run folder.
    """

    def __init__(self, target: str = "") -> None:
        self._target = target

    def write(self, report: SessionReport, folder: Path) -> list[Path]:
        place = Path(os.path.expanduser(self._target)) if self._target else folder
        written = [
            _write_lines(place / "results.csv", results_columns(report.metrics), _results(report)),
            _write_lines(
                place / "summary.csv",
                summary_columns(report.metrics),
                (_summary_line(model, report.provenance) for model in report.models),
            ),
        ]
        if any(task.answers is not None for task in report.tasks):
            written.append(_write_table(place / "questions.csv", question_columns(report), _questions(report)))
        if report.loads:
            written.append(_write_table(place / "requests.csv", list(REQUEST_COLUMNS), _requests(report)))
        return written


def _write_table(path: Path, columns: list[str], rows: Iterable[Iterable[_Field]]) -> Path:
    return _write_lines(path, columns, map(_line, rows))


def _write_lines(path: Path, columns: list[str], lines: Iterable[str]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(_line(columns))
            while some := "".join(itertools.islice(lines, _AT_ONCE)):
                stream.write(some)
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror or error}.") from error
    return path


def _line(fields: Iterable[_Field]) -> str:
    row = [*fields]
    numbers = iter(spelled([field for field in row if not isinstance(field, str)]))
    return ",".join([quoted(field) if isinstance(field, str) else next(numbers) for field in row]) + "\r\n"


def quoted(text: str) -> str:
    """A text as a field of a row of several, as RFC 4180 has it and the standard library writes it.

    >>> quoted('plain'), quoted('a "b", c')
    ('plain', '"a ""b"", c"')
    """
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


# ------------------------------------------------------------------------------------------------------- results.csv


def _round_metrics(metrics: list[MetricDef]) -> list[MetricDef]:
    """The metrics that have a column of their own: the paper's columns come first and are not repeated."""
    return [metric for metric in metrics if metric.of_rounds and metric.name not in PAPER_COLUMNS]


def results_columns(metrics: list[MetricDef]) -> list[str]:
    """The header of results.csv."""
    return [*PAPER_COLUMNS, *OWN_COLUMNS, *(metric.name for metric in _round_metrics(metrics))]


def _results(report: SessionReport) -> Iterator[str]:
    defs = {metric.name: metric for metric in report.metrics}
    own = _round_metrics(report.metrics)
    writer = _RowWriter([
        _scale(defs.get("latency"), 1e-6, 1e3),
        _scale(defs.get("peak_rss"), 1e-9 / _MEGABYTE, 1 / _MEGABYTE),
        _scale(defs.get("cpu_percent"), 1e-9, 1),
        *(_scale(metric, 1e-9, 1) for metric in own),
    ])  # fmt: skip
    for block in report.blocks:
        yield from writer.lines(block, report.status(block))
        if block.error is not None:
            reason = f"{block.error.kind}: {block.error.message.removeprefix(f'{block.error.kind}: ')}"
            place = (block.cell, block.prompt_id, block.test)
            texts = (block.model, block.prompt, place, reason, block.worker)
            number, seed = block.first_round + block.n, block.seed
            yield _line(_failed_row(*texts, number=number, seed=seed, provenance=block.provenance, own=len(own)))
    for cell in report.cells:
        if cell.error is not None and cell.blocks == 0:
            yield _line(_unmeasured_row(cell, len(own)))


class _Scale(NamedTuple):
    """From the stored numbers of a metric to those of a column; at most one of the two is not 1."""

    metric: str
    """Empty where the run does not have it."""
    divisor: int = 1
    factor: float = 1
    counts: bool = False
    """True for what is counted, such as bytes and tokens: shown without a fraction where there is none."""


def _scale(metric: MetricDef | None, from_ns: float, from_si: float) -> _Scale:
    """How a column comes from its metric, by the factor of the form in which that is stored."""
    if metric is None:
        return _Scale("")
    factor = from_ns if metric.stored == "ns" else from_si
    if factor < 1:  # dividing by the whole number is exact where multiplying by its inverse is not
        return _Scale(metric.name, divisor=round(1 / factor))
    return _Scale(metric.name, factor=factor, counts=metric.unit in _COUNTED)


class _RowWriter:
    """Writes the rounds of blocks, whose numbers are most of a row."""

    def __init__(self, scales: Sequence[_Scale]) -> None:
        self._scales = scales
        self._forms: dict[int, _Form] = {}
        """Layout of blocks, which lives as long as the report -> how their rows are made."""
        self._fields = lru_cache(maxsize=256)(_field)  # prompts, reasons and the like come again and again

    def lines(self, block: Block, status: BlockStatus) -> Iterator[str]:
        """A line a round."""
        form = self._forms.get(id(block.layout))
        if form is None:
            form = self._forms[id(block.layout)] = _Form(self._scales, block.layout)
        field, reason = self._fields, _REASONS[status]
        begin = f"{field(block.model)},{field(block.prompt)},"
        place = f"{_field(block.cell)},{field(block.prompt_id)},{_field(block.test)},"
        outputs, kept = [_field(output) for output in block.outputs], block.output_of_round
        status_and_worker = f"{status},{quoted(reason)},{field(block.worker)}"
        for index, (three, numbers) in enumerate(form.rows(block)):
            which = kept[index] if outputs else None  # who measured it may have kept no answers
            output, md5 = ("", "") if which is None else (outputs[which], block.md5[which])
            yield (
                f"{begin}{output},{three},{md5},{place}{block.first_round + index},{status_and_worker},{field(block.noisy[index])},"
                f"{field(block.finish_reasons[index])},{block.seed},{block.provenance}{numbers}\r\n"
            )


def _field(text: str) -> str:
    return quoted(guard_text(text))


class _Form:
    """How the numbers of blocks of one layout become fields: the first three for the paper's columns, all others for the end."""

    def __init__(self, scales: Sequence[_Scale], layout: Mapping[str, int]) -> None:
        there = [(scale, layout[scale.metric]) for scale in scales if scale.metric in layout]
        self._places = [(position, scale.divisor, scale.factor) for scale, position in there]
        self._counted = [at for at, (scale, _) in enumerate(there) if scale.counts]
        marks = ["%s" if scale.metric in layout else "" for scale in scales]
        self._three, self._rest = ",".join(marks[:3]), "".join(f",{mark}" for mark in marks[3:])
        self._first = sum(map(bool, marks[:3]))

    def rows(self, block: Block) -> Iterator[tuple[str, str]]:
        """The two parts for each round."""
        n, flat = block.n, block.numbers.tolist()
        for index in range(n):
            texts = spelled([
                flat[position * n + index] / divisor if divisor != 1 else flat[position * n + index] * factor
                for position, divisor, factor in self._places
            ])  # fmt: skip
            for at in self._counted:
                texts[at] = texts[at].removesuffix(".0")
            yield self._three % tuple(texts[: self._first]), self._rest % tuple(texts[self._first :])


def _failed_row(
    model: str, prompt: str, place: tuple[str, str, str], reason: str, worker: str, *, number: int | None, seed: int | None,
    provenance: Provenance, own: int,
) -> list[_Field]:  # fmt: skip
    """The row of a round that gave nothing."""
    head: list[_Field] = [guard_text(model), guard_text(prompt), *[None] * 5, *map(guard_text, place), number]
    return [*head, "failed", guard_text(reason), guard_text(worker), None, None, seed, provenance, *[None] * own]


def _unmeasured_row(cell: CellSummary, own: int) -> list[_Field]:
    assert cell.error is not None  # the caller asks for cells that failed
    reason = f"{cell.error.kind}: {cell.error.message}"
    place = (cell.id, cell.prompt_id, cell.test)
    return _failed_row(cell.model, "", place, reason, "", number=None, seed=None, provenance=cell.provenance, own=own)


# ----------------------------------------------------------------------------------------------------- questions.csv

QUESTION_COLUMNS: Final = (
    "model", "task", "index", "doc_sha256", "gold", "prediction", "output", "logprobs", "truncated", "cell", "test", "whole", "label",
    "source", "resumed_from", "provenance",
)  # fmt: skip


def question_columns(report: SessionReport) -> list[str]:
    """The header of questions.csv: behind the fixed columns one for each metric of any task."""
    metrics = dict.fromkeys(metric for task in report.tasks if task.facts is not None for metric in task.facts.metrics)
    return [*QUESTION_COLUMNS, *metrics]


def _questions(report: SessionReport) -> Iterator[list[_Field]]:
    """One row a question: places of choices from 0, several right ones and log-probabilities divided by spaces."""
    metrics = question_columns(report)[len(QUESTION_COLUMNS) :]
    for task in report.tasks:
        for record in task.answers.records if task.answers is not None else ():
            facts = record.task
            place = [
                guard_text(record.cell),
                guard_text(record.test),
                str(facts.whole).lower(),
                guard_text(facts.label),
            ]
            place += [guard_text(facts.source), guard_text(record.resumed_from), record.provenance]
            values = [record.values.get(metric) for metric in metrics]
            for at in range(record.n):
                generated = facts.kind == "generation"
                yield [
                    guard_text(record.model), facts.name, record.index[at], record.doc_sha256[at], " ".join(map(str, record.gold[at])),
                    None if generated else record.prediction[at], guard_text(record.outputs[at]) if generated else None,
                    " ".join(map(repr, record.logprobs[at])), record.truncated[at], *place,
                    *(None if column is None else column[at] for column in values),
                ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------ requests.csv

REQUEST_COLUMNS: Final = (
    "model", "cell", "scenario", "round", "step", "rate", "concurrency", "kept", "request", "prompt", "intended", "sent_late", "ttft",
    "itl", "latency", "output_tokens", "failure", "test",
)  # fmt: skip
"""Times in seconds: ``intended`` from the beginning of the run, ``sent_late`` from when it could be sent, all others from ``intended``."""


def _requests(report: SessionReport) -> Iterator[list[_Field]]:
    """One row a request of what was measured under load."""
    from ..load.accounting import outcomes_of

    for load in report.loads:
        run = load.run
        head: list[_Field] = [
            guard_text(load.model),
            guard_text(load.cell),
            guard_text(load.scenario),
            load.round,
            run.step,
        ]
        head += [run.rate, run.concurrency, None if run.kept is None else str(run.kept).lower()]
        for number, each in enumerate(outcomes_of(run)):
            first, gap = each.first_ns, each.gap_ns
            yield [
                *head, number, each.prompt, each.intended_ns / 1e9, (each.sent_ns - each.ready_ns) / 1e9,
                None if first is None else (first - each.intended_ns) / 1e9, None if gap is None else gap / 1e9,
                (each.ended_ns - each.intended_ns) / 1e9, each.tokens, guard_text(each.failure), guard_text(load.test),
            ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------- summary.csv


def summary_columns(metrics: list[MetricDef]) -> list[str]:
    """The header of summary.csv."""
    own = (f"{metric.name}.{statistic}" for metric in metrics for statistic in SUMMARY_STATISTICS)
    return [*PAPER_SUMMARY, *OWN_SUMMARY, *own]


def _summary_line(model: ModelSummary, provenance: Provenance) -> str:
    statistics = model.statistics

    def field(metric: str, statistic: str) -> _Field:
        return statistics.get(metric, {}).get(statistic)

    score, source = benchmark_score(model)
    if any(cell.resumed_from for cell in model.cells):
        provenance = "resumed"
    row: list[_Field] = [
        guard_text(model.alias),
        *(field("latency", statistic) for statistic in ("mean", "min", "max", "std")),
        field("peak_rss", "mean"),
        field("cpu_percent", "mean"),
        score,
        guard_text(model.spec),
        *(len(model.cells), model.valid_cells, model.failed_cells, model.inconclusive_cells),
        *(model.rounds, model.noisy_rounds, model.length_mismatches, model.starts, model.deaths, source, provenance),
    ]
    numbers = [
        texts[place] if place >= 0 else ""
        for name, texts in model.spelt.items()
        for place in _summary_places(tuple(statistics[name]))
    ]
    return f"{_line(row)[:-2]},{','.join(numbers)}\r\n"


@lru_cache(maxsize=64)
def _summary_places(known: tuple[str, ...]) -> list[int]:
    """Where among the statistics that a sample carries those stand that have a column; -1 for those that it does not carry.

    >>> _summary_places(("n", "min", "median", "mean", "max"))
    [0, 1, 2, 3, -1, -1, 4]
    """
    return [known.index(statistic) if statistic in known else -1 for statistic in SUMMARY_STATISTICS]


def benchmark_score(model: ModelSummary) -> tuple[float | None, str]:
    """The mean of the measured scores, else what others published, in per cent; and which of the two it is."""
    measured = model.statistics.get("score", {}).get("mean")
    if measured is not None:
        of = ", ".join(f"{score.suite} {score.metric}" for score in model.measured_scores)
        return measured, f"measured: {of}" if of else "measured"
    published = model.published
    return (published.value, f"published: {published.source}") if published else (None, "")
