"""The drill-down: which cells of a run the page holds, and all that is known of one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from ..engine.comparisons.explain_comparison import interval, percent
from ..engine.comparisons.slowdown import of_record, rows, steal_words
from ..engine.reports.columns import Block
from ..engine.reports.headlines import headlines
from ..engine.reports.report import CellSummary, SessionReport
from ..metrics import MetricDef
from ..records import BudgetResult, ComparisonResult, Missing, SlowdownResult
from ..text import one_line
from ..units import format_duration, format_quantity, format_rate
from .chart import rounds_chart
from .texts import Shown, html_of, shown

MOST_CELLS: Final = 200
ROUND_ROWS: Final = 4000
"""Over all cells of the page."""
LEAST_ROUND_ROWS: Final = 5
TEXT_BYTES: Final = 500_000
"""Of prompts and outputs, over all cells of the page."""
LEAST_TEXT_BYTES: Final = 600
MOST_TEXT_BYTES: Final = 50_000
MOST_OUTPUTS: Final = 10
COLUMNS: Final = ("latency", "ttft", "tokens_per_s", "output_tokens", "cpu_time", "peak_rss")
"""Of the table of rounds, as far as the run has them."""
LOAD_COLUMNS: Final = (
    "offered_rate", "max_rate", "request_throughput", "output_throughput", "goodput", "request_latency_p50", "request_latency_p95",
    "request_ttft_p50", "error_rate",
)  # fmt: skip
"""The same of a cell under load."""
_KEYWORD: Final = re.compile(r"[\w:+.\[\]/-]+")
"""What ``-k`` takes without quotes of its own."""
_WRITING: Final = ("--llmci-save-baseline", "--llmci-update-baseline")
"""Options that one test alone must not carry out again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One distinct output."""

    shown: Shown
    sha256: str
    finish_reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistic:
    """One metric of a cell."""

    name: str
    heading: str
    definition: str
    numbers: tuple[str, ...]
    """Median, least, greatest, mean, p95."""
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One measured round."""

    number: int
    values: tuple[str, ...]
    noisy: str
    output: int
    """From 1; 0 where none was kept."""


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One cell on the page."""

    anchor: str
    cell: CellSummary
    state: str
    why: tuple[str, ...]
    latency: str
    command: str
    reproduce: str
    prompt: Shown
    answers: tuple[Answer, ...]
    more_answers: int
    statistics: tuple[Statistic, ...]
    missing: tuple[tuple[str, str], ...]
    """Why numbers are missing, and the metrics that are."""
    headings: tuple[str, ...]
    rounds: tuple[Round, ...]
    more_rounds: int
    chart: str
    budgets: tuple[tuple[str, ...], ...]
    comparisons: tuple[tuple[str, ...], ...]
    where: SlowdownView | None
    facts: tuple[tuple[str, str], ...] = ()
    """Evidence of an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowdownView:
    """Where a regressed time lies."""

    against: str
    rows: Sequence[tuple[str, str, str, str]] = ()
    steal: str = ""
    note: str = ""
    """Why it is not known."""


@dataclass(frozen=True)
class Drill:
    """The cells of the page."""

    report: SessionReport = field(repr=False)

    @cached_property
    def metrics(self) -> dict[str, MetricDef]:
        """Of the run, by name."""
        return {metric.name: metric for metric in self.report.metrics}

    @cached_property
    def kept(self) -> dict[int, str]:
        """Place of each cell that the page holds -> its anchor: what failed first, then what changed, then the rest."""
        ranked = sorted(range(len(self.report.cells)), key=lambda place: (_rank(self.report.cells[place]), place))
        return {place: f"c{place}" for place in sorted(ranked[:MOST_CELLS])}

    @property
    def left_out(self) -> int:
        """How many cells the page does not hold."""
        return len(self.report.cells) - len(self.kept)

    @cached_property
    def anchors(self) -> dict[str, str]:
        """Id of a cell -> where it stands on the page; of two with one id the first."""
        found: dict[str, str] = {}
        for place, anchor in self.kept.items():
            found.setdefault(self.report.cells[place].id, anchor)
        return found

    def views(self, model: str) -> Iterator[CellView]:
        """The kept cells of a model."""
        for place in self._by_model.get(model, ()):
            yield self._view(self.report.cells[place], self.kept[place])

    def has(self, model: str) -> bool:
        """Whether the page holds any cell of a model."""
        return model in self._by_model

    def count(self, model: str) -> int:
        """How many cells of a model the page holds."""
        return len(self._by_model.get(model, ()))

    @cached_property
    def _by_model(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for place in self.kept:
            found.setdefault(self.report.cells[place].model, []).append(place)
        return found

    def _view(self, cell: CellSummary, anchor: str) -> CellView:
        room = min(MOST_TEXT_BYTES, max(LEAST_TEXT_BYTES, TEXT_BYTES // len(self.kept)))
        prompt, answers = _texts(cell, room)
        most = max(LEAST_ROUND_ROWS, ROUND_ROWS // len(self.kept))
        columns = [self.metrics[name] for name in (LOAD_COLUMNS if cell.load else COLUMNS) if name in self.metrics]
        main = "request_latency_p50" if cell.load else "latency"
        latencies, noisy = _latencies(cell, self.metrics.get(main))
        statistics, missing = self._statistics(cell)
        middle = cell.summary(main).median if main in self.metrics else Missing("")
        return CellView(
            anchor=anchor,
            cell=cell,
            state=cell.verdict or "not judged",
            why=tuple(map(one_line, headlines(cell, self.metrics))) if cell.verdict != "pass" else (),
            latency="" if isinstance(middle, Missing) else format_duration(middle),
            command=repeat_command(self.report.header.command, cell.test),
            reproduce=one_line(shlex.join(["llmci", "reproduce", self.report.folder.name, "--cell", cell.id])),
            prompt=prompt,
            answers=tuple(answers),
            more_answers=len(cell.outputs) - len(answers),
            statistics=statistics,
            missing=missing,
            headings=tuple(metric.heading for metric in columns),
            rounds=tuple(_rounds(cell, columns, most)),
            more_rounds=max(0, cell.rounds - most),
            chart=rounds_chart(latencies, noisy),
            budgets=tuple(_budget(budget, self.metrics) for budget in cell.budgets),
            comparisons=tuple(_comparison(result, self.metrics) for result in cell.comparisons),
            where=_where(cell.slowdown),
            facts=tuple((one_line(name), one_line(text)) for name, text in cell.error.facts.items())
            if cell.error
            else (),
        )

    def _statistics(self, cell: CellSummary) -> tuple[tuple[Statistic, ...], tuple[tuple[str, str], ...]]:
        samples = cell.columns.samples()
        found: list[Statistic] = []
        reasons: dict[str, list[str]] = {}
        for metric in self.report.metrics:
            if metric.scope == "worker" or (metric.scope == "load") != bool(cell.load):
                continue
            summary = cell.summarised(metric.name, samples.get(metric.name, []))
            if isinstance(summary.median, Missing):
                reasons.setdefault(summary.median.reason or "not measured", []).append(metric.name)
                continue
            numbers = (summary.median, summary.min, summary.max, summary.mean, summary.p95)
            texts = tuple(
                "n/a" if isinstance(each, Missing) else format_quantity(each, metric.unit) for each in numbers
            )
            found.append(
                Statistic(
                    name=metric.name, heading=metric.heading, definition=metric.definition, numbers=texts, n=summary.n
                )
            )
        return tuple(found), tuple((one_line(why), ", ".join(names)) for why, names in reasons.items())


def _rank(cell: CellSummary) -> int:
    """What people look for first."""
    if cell.verdict == "failed" or cell.error is not None:
        return 0
    if any(result.verdict != "pass" or result.improved or result.accepted for result in cell.comparisons):
        return 1
    return 2 if cell.verdict != "pass" else 3


def _measured(cell: CellSummary) -> list[Block]:
    return [block for block in cell.columns.blocks if block.origin == "measured"]


def _latencies(cell: CellSummary, metric: MetricDef | None) -> tuple[list[float], list[bool]]:
    """Seconds of the rounds that have them, and which of them are noisy."""
    if metric is None:
        return [], []
    known = [
        (metric.to_si(value), bool(mark))
        for block in _measured(cell)
        for value, mark in zip(block.column(metric.name), block.noisy or ("",) * block.n, strict=True)
        if value is not None
    ]
    return [value for value, _ in known], [mark for _, mark in known]


def _texts(cell: CellSummary, room: int) -> tuple[Shown, list[Answer]]:
    """Prompt and outputs within so many bytes together; the prompt gets at most half of them."""
    prompt = shown(cell.prompt, room // 2)
    left = room - len(html_of(prompt.text))
    outputs = cell.outputs[:MOST_OUTPUTS]
    answers = []
    for number, output in enumerate(outputs):
        text = shown(output.text, max(0, left // (len(outputs) - number)))
        left -= len(html_of(text.text))
        answers.append(Answer(shown=text, sha256=output.sha256, finish_reason=one_line(output.finish_reason)))
    return prompt, answers


def _rounds(cell: CellSummary, columns: Sequence[MetricDef], most: int) -> Iterator[Round]:
    places = {output.sha256: number for number, output in enumerate(cell.outputs, start=1)}
    number = 0
    for block in _measured(cell):
        texts = [_column(block, metric) for metric in columns]
        kept = block.output_of_round or (None,) * block.n
        for place, (output, values) in enumerate(zip(kept, zip(*texts, strict=True), strict=True) if texts else ()):
            number += 1
            if number > most:
                return
            yield Round(
                number=number,
                values=values,
                noisy=one_line(block.noisy[place]) if block.noisy else "",
                output=0 if output is None else places.get(block.output_sha256[output], 0),
            )


def _column(block: Block, metric: MetricDef) -> list[str]:
    return [
        "n/a" if value is None else format_quantity(metric.to_si(value), metric.unit)
        for value in block.column(metric.name)
    ]


def _budget(budget: BudgetResult, metrics: Mapping[str, MetricDef]) -> tuple[str, ...]:
    metric = metrics.get(budget.metric)
    observed = "n/a"
    if budget.observed is not None:
        observed = format_quantity(budget.observed, metric.unit) if metric else format_rate(budget.observed)
    return tuple(map(one_line, (budget.budget, observed, budget.verdict, budget.origin, budget.reason)))


def _comparison(result: ComparisonResult, metrics: Mapping[str, MetricDef]) -> tuple[str, ...]:
    metric = metrics.get(result.metric)
    unit, heading = (metric.unit, metric.heading) if metric else ("1", result.metric)
    sides = ["n/a" if value is None else format_quantity(value, unit) for value in (result.base, result.candidate)]
    change = "n/a" if result.change is None else percent(result.change)
    sees = "" if result.visible is None else percent(result.visible, sign=False)
    verdict = "accepted" if result.accepted else "improved" if result.improved else result.verdict
    why = "; ".join(filter(None, (result.reason, result.accepted)))
    against = f"{result.against} ({result.mode})"
    return tuple(map(one_line, (heading, against, *sides, change, interval(result), sees, verdict, why)))


def _where(result: SlowdownResult | None) -> SlowdownView | None:
    if result is None:
        return None
    found = of_record(result)
    if isinstance(found, Missing):
        return SlowdownView(against=one_line(result.against), note=one_line(found.reason))
    return SlowdownView(against=one_line(result.against), rows=rows(found), steal=steal_words(found))


def repeat_command(command: Sequence[str], test: str) -> str:
    """The session's command for one of its tests.

    :param command: of the session, as its log has it.
    :param test: node id.

    >>> repeat_command(["pytest", "--llm-models=echo", "--llmci-save-baseline=main"], "inference::echo-tcp")
    'pytest --llm-models=echo -k echo-tcp'
    """
    name = test.rpartition("::")[2]
    chosen = ["-k", name] if _KEYWORD.fullmatch(name) else [test]
    again = [argument for argument in command if argument.partition("=")[0] not in _WRITING]
    return one_line(shlex.join([*again, *chosen]))
