"""What the page says of the run as a whole, as texts for its template: verdict, changes, failures, models, costs, trade-offs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import islice
from typing import Final

from ..cost.estimate import doubt
from ..engine.comparisons.explain_comparison import change_words, shown_results, wide_rows
from ..engine.comparisons.explain_tradeoffs import SHOW, TITLES
from ..engine.comparisons.slowdown import PARTS, Slowdown, of_record, row_of
from ..engine.comparisons.tradeoffs import CRITERIA, Estimate, Standing, standings
from ..engine.reports.costs import REQUESTS_A_DAY, CostRow, chosen_rows, cost_rows, prices_of
from ..engine.reports.elsewhere import elsewhere_text
from ..engine.reports.headlines import headlines, verdict_line
from ..engine.reports.load_table import load_rows, under_load
from ..engine.reports.report import CellSummary, ModelSummary, SessionReport
from ..engine.reports.retries import retry_text
from ..records import Missing, Number, Price
from ..text import how_many, one_line, sentence, told_noisy
from ..units import format_bytes, format_duration, format_quantity, format_rate
from .cells import CellView, Drill, repeat_command
from .facts import cut, flat
from .questions import TaskView, task_view
from .table import Table, Value

MOST_ROWS: Final = 200
"""Of changes, failures, costs and trade-offs each; the models are all there."""
MOST_MODELS_AT_ALL_PRICES: Final = 20
MOST_EXPLAINED: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """One model in the table."""

    alias: str
    anchor: str
    """Empty where the page holds none of its cells."""
    state: str
    numbers: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class ModelView:
    """One model in the drill-down."""

    anchor: str
    alias: str
    state: str
    facts: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, str], ...]
    command: str
    cells: Iterator[CellView] = field(repr=False)
    n: int
    """Cells of the model."""
    shown: int
    """Cells of it on the page."""


@dataclass(frozen=True)
class RunView:
    """A run as its page tells it."""

    report: SessionReport = field(repr=False)

    @cached_property
    def drill(self) -> Drill:
        """The cells."""
        return Drill(self.report)

    @property
    def verdict(self) -> str:
        """In one line."""
        return one_line(verdict_line(self.report))

    @property
    def state(self) -> str:
        """``failed``, ``inconclusive``, ``pass`` or ``unknown``: the colour of the verdict."""
        report = self.report
        if report.count("failed") or any(gate.outcome == "failed" for gate in report.gates):
            return "failed"
        if report.footer is None or report.recovered or not report.cells:
            return "unknown"
        return "inconclusive" if report.count("inconclusive") else "pass"

    @property
    def summary(self) -> tuple[tuple[str, str], ...]:
        """The facts below the verdict."""
        report = self.report
        git = report.header.environment.get("git")
        commit = str(git.get("commit") or "") if isinstance(git, dict) else ""
        rounds, noisy = report.count("rounds"), report.count("noisy")
        facts = {
            "Run": report.header.run_id,
            "Started": utc(report.header.started),
            "Finished": utc(report.footer.finished) if report.footer else "",
            "Commit": commit,
            "Measured": f"{how_many(len(report.models), 'model')}, {how_many(len(report.cells), 'cell')}, {how_many(rounds, 'round')}",
            "Noise": sentence(told_noisy(noisy, rounds)) if rounds else "",
            "Retries": retry_text(report).removeprefix("Retries: "),
            "Machine": str(report.header.environment.get("cpu_model") or ""),
            "Other machines": elsewhere_text(report).removeprefix("Measured on other machines: "),
        }
        return tuple((name, one_line(text)) for name, text in facts.items() if text)

    # ------------------------------------------------------------------------------------------------------- changes

    @cached_property
    def against(self) -> str:
        """What the run was compared with; empty where with nothing."""
        results = (result for cell in self.report.cells for result in cell.comparisons)
        names = dict.fromkeys(one_line(result.against) for result in islice(results, 10_000))
        return ", ".join(names)

    @cached_property
    def changes(self) -> Table:
        """What changed or could not be told, the worst first."""
        cells = [(cell.id, cell.comparisons) for cell in self.report.cells if cell.comparisons]
        whole = [(gate.model, result) for gate in self.report.gates for result in gate.comparisons]
        rows = wide_rows(cells, whole, self.drill.metrics)
        kept = rows[:MOST_ROWS]
        return Table(
            headings=("cell", "metric", "before", "now", "change", "interval", "verdict"),
            rows=kept,
            more=len(rows) - len(kept),
            anchors=[self.drill.anchors.get(row[0], "") for row in kept],
        )

    @cached_property
    def change_words(self) -> str:
        """Why changes are not those of the medians beside them; empty where nobody sees a difference."""
        cells = [(cell.id, cell.comparisons) for cell in self.report.cells]
        whole = [(gate.model, result) for gate in self.report.gates for result in gate.comparisons]
        return change_words(shown_results(cells, whole))

    @cached_property
    def where(self) -> Table:
        """Where the time of regressed cells went."""
        told = [
            (cell, found)
            for cell in self.report.cells
            if cell.slowdown is not None and isinstance(found := of_record(cell.slowdown), Slowdown)
        ]
        if not told:
            return Table(headings=(), rows=())
        told.sort(key=lambda each: -each[1].share(each[1].change))
        return Table(
            headings=("cell", *PARTS, "whole"),
            rows=[(one_line(cell.id), *row_of(found)) for cell, found in told[:MOST_EXPLAINED]],
            more=max(0, len(told) - MOST_EXPLAINED),
            anchors=[self.drill.anchors.get(cell.id, "") for cell, _ in told],
        )

    @cached_property
    def failures(self) -> Table:
        """What failed, and why."""
        failed = [cell for cell in self.report.cells if cell.verdict == "failed" or cell.error is not None]
        gates = [gate for gate in self.report.gates if gate.outcome == "failed"]
        rows = [(one_line(gate.name), one_line(gate.message)) for gate in gates]
        rows += [(one_line(cell.id), self._why(cell)) for cell in failed[: max(0, MOST_ROWS - len(rows))]]
        anchors = [""] * len(gates) + [self.drill.anchors.get(cell.id, "") for cell in failed]
        return Table(
            headings=("failed", "why"), rows=rows[:MOST_ROWS], more=len(gates) + len(failed) - len(rows[:MOST_ROWS]), anchors=anchors
        )  # fmt: skip

    def _why(self, cell: CellSummary) -> str:
        return cut("; ".join(map(one_line, headlines(cell, self.drill.metrics))) or "see the test's own failure")

    # -------------------------------------------------------------------------------------------------------- models

    @cached_property
    def _columns(self) -> list[tuple[str, Callable[[ModelSummary], Value]]]:
        known = self.drill.metrics
        columns: list[tuple[str, Callable[[ModelSummary], Value]]] = []
        for name, statistic, heading, write in _COLUMNS:
            if name in known:
                columns.append((heading, _reader(name, statistic, write)))
        if any(model.published is not None for model in self.report.models):
            columns.append(("score (published)", _published))
        costs = {row.model: row for row in chosen_rows(self.report)}
        if costs:
            columns.append(("USD for 1,000 requests", lambda model: _cost(costs.get(model.alias))))
        columns += [
            ("valid", lambda m: Value(text=f"{m.valid_cells}/{m.checked_cells}", value=m.valid_cells / m.checked_cells)
             if m.checked_cells else Value(text="n/a", why="no output was judged")),
            ("rounds", lambda m: Value(text=str(m.rounds), value=m.rounds)),
            ("noisy", lambda m: Value(text=str(m.noisy_rounds), value=m.noisy_rounds)),
        ]  # fmt: skip
        return columns

    @property
    def model_headings(self) -> tuple[str, ...]:
        """Of the table of models, its name and verdict apart."""
        return tuple(heading for heading, _ in self._columns)

    def model_rows(self) -> Iterator[ModelRow]:
        """Every model."""
        for place, model in enumerate(self.report.models):
            yield ModelRow(
                alias=one_line(model.alias),
                anchor=f"m{place}" if self.drill.has(model.alias) else "",
                state=_state(model),
                numbers=tuple(read(model) for _, read in self._columns),
            )

    def models(self) -> Iterator[ModelView]:
        """Those with cells on the page."""
        for place, model in enumerate(self.report.models):
            if not self.drill.has(model.alias):
                continue
            yield ModelView(
                anchor=f"m{place}",
                alias=one_line(model.alias),
                state=_state(model),
                facts=tuple(_model_facts(model)),
                missing=tuple(_worker_reasons(model)),
                command=repeat_command(self.report.header.command, f"::{model.alias}"),
                cells=self.drill.views(model.alias),
                n=len(model.cells),
                shown=self.drill.count(model.alias),
            )

    # ------------------------------------------------------------------------------------------ costs and trade-offs

    @cached_property
    def tradeoffs(self) -> Table:
        """Score, latency, memory and cost of each model, those of the Pareto set first."""
        found = standings(self.report)
        shown = [name for name in CRITERIA if any(name in each.estimates for each in found)]
        if len(found) < 2 or not shown:
            return Table(headings=(), rows=())
        ordered = sorted(found, key=lambda each: bool(each.dominated_by))
        rows = [
            (
                one_line(each.model),
                *(_estimate(each.estimates.get(name), SHOW[name]) for name in shown),
                _standing(each),
            )
            for each in ordered[:MOST_ROWS]
        ]
        headings = ("model", *(TITLES[name] for name in shown), "Pareto set")
        values = [
            [*(each.estimates[name].value if name in each.estimates else None for name in shown), None]
            for each in ordered[:MOST_ROWS]
        ]
        return Table(headings=headings, rows=rows, more=len(ordered) - len(rows), values=values)

    @cached_property
    def costs(self) -> Table:
        """What the models cost: each at its own price, or where none was chosen a few models at all packaged ones."""
        rows = chosen_rows(self.report)
        if rows:
            headings = ("model", "price", "1,000 requests", "million tokens", f"{REQUESTS_A_DAY:,} a day")
            texts = [_cost_texts(row) for row in rows[:MOST_ROWS]]
            values = [
                [None, _known(row.thousand), _known(row.million_tokens), row.day.whole if row.day else None]
                for row in rows[:MOST_ROWS]
            ]
            return Table(headings=headings, rows=texts, more=len(rows) - len(texts), values=values)
        if len(self.report.models) > MOST_MODELS_AT_ALL_PRICES:
            return Table(headings=(), rows=())
        by_model: dict[str, list[CostRow]] = {}
        for row in cost_rows(self.report, self._prices):
            by_model.setdefault(row.model, []).append(row)
        return Table(
            headings=("USD for 1,000 requests", *(one_line(price.name) for price in self._prices)),
            rows=[(one_line(model), *(_usd(row.thousand) for row in rows)) for model, rows in by_model.items()],
            values=[[_known(row.thousand) for row in rows] for rows in by_model.values()],
        )

    @cached_property
    def _prices(self) -> list[Price]:
        chosen = {model.price.name: model.price for model in self.report.models if model.price is not None}
        return list(chosen.values()) or prices_of(self.report)

    @property
    def prices(self) -> tuple[tuple[str, str], ...]:
        """Name, machine, source and date of each price of :attr:`costs`."""
        day = date.fromisoformat(self.report.header.started[:10])
        told = ((_rate(each), each.environment, each.source, doubt(each, day) or each.date) for each in self._prices)
        texts = [one_line("; ".join(filter(None, parts))) for parts in told]
        return tuple(zip([one_line(each.name) for each in self._prices], texts, strict=True))

    # -------------------------------------------------------------------------------------------------------- questions

    @cached_property
    def benchmarks(self) -> Table:
        """Scores of benchmarks, where the run has any."""
        scores = [(model, score) for model in self.report.models for score in getattr(model, "scores", ())]
        rows = [
            (one_line(model.alias), one_line(score.suite), f"{format_rate(score.per_cent)} %", one_line(score.label))
            for model, score in scores[:MOST_ROWS]
        ]
        values = [[None, score.per_cent, None] for _, score in scores[:MOST_ROWS]]
        return Table(
            headings=("model", "benchmark", "score", "of"), rows=rows, more=len(scores) - len(rows), values=values
        )  # fmt: skip

    @cached_property
    def loads(self) -> Table:
        """What was measured under load: medians of the runs of each cell."""
        cells = [cell for cell in under_load(self.report) if cell.rounds]
        headings, rows = load_rows(cells)
        return Table(
            headings=tuple(headings), rows=[tuple(row) for row in rows[:MOST_ROWS]], more=max(0, len(rows) - MOST_ROWS)
        )

    def tasks(self) -> Iterator[TaskView]:
        """The questions of benchmark tasks that were answered wrong."""
        for task in getattr(self.report, "tasks", ()):
            if task.answers is not None and task.answers.records:
                yield task_view(task)

    @cached_property
    def gates(self) -> Table:
        """Verdicts over whole models and the session."""
        rows = [(one_line(gate.name), gate.outcome, one_line(gate.message)) for gate in self.report.gates]
        return Table(headings=("gate", "outcome", "message"), rows=rows[:MOST_ROWS], more=max(0, len(rows) - MOST_ROWS))

    # -------------------------------------------------------------------------------------------------------- the rest

    @cached_property
    def other_tools(self) -> Table:
        """What other tools measured around models."""
        rows = [
            (
                one_line(record.test), one_line(record.tool), str(len(record.round_s)),
                format_duration(sorted(record.round_s)[len(record.round_s) // 2]) if record.round_s else one_line(record.reason),
            )
            for record in self.report.benchmarks
        ]  # fmt: skip
        return Table(
            headings=("test", "tool", "rounds", "median"), rows=rows[:MOST_ROWS], more=max(0, len(rows) - MOST_ROWS)
        )

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """Facts of the machine and its software."""
        return tuple(flat(self.report.header.environment))

    @property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """What the session was asked."""
        return tuple(flat(self.report.header.settings))

    @property
    def definitions(self) -> tuple[tuple[str, str, str], ...]:
        """Metric, definition, and what is not in it."""
        return tuple(
            (metric.name, one_line(metric.definition), one_line(metric.excludes)) for metric in self.report.metrics
        )


_COLUMNS: Final[tuple[tuple[str, str, str, Callable[[float], str]], ...]] = (
    ("latency", "median", "latency", format_duration),
    ("latency", "p95", "p95", format_duration),
    ("ttft", "median", "1st token", format_duration),
    ("tokens_per_s", "median", "tokens/s", format_rate),
    ("peak_rss", "max", "peak RAM", format_bytes),
    ("cpu_percent", "median", "CPU %", format_rate),
    ("load_time", "median", "load", format_duration),
    ("score", "mean", "score", format_rate),
)
"""Metric, statistic, heading and how it is written."""


def _reader(name: str, statistic: str, write: Callable[[float], str]) -> Callable[[ModelSummary], Value]:
    def read(model: ModelSummary) -> Value:
        return _number(model.summary(name).get(statistic), write)

    return read


def _number(value: Number, write: Callable[[float], str]) -> Value:
    if isinstance(value, Missing):
        return Value(text="n/a", why=one_line(value.reason))
    return Value(text=write(value), value=float(value))


def _published(model: ModelSummary) -> Value:
    score = model.published
    if score is None:
        return Value(text="n/a", why="none was joined (--llmci-scores)")
    note = "; ".join(filter(None, (f"published: {score.source}", score.note)))
    return Value(text=f"({format_rate(score.value)})", value=score.value, why=one_line(note))


def _cost(row: CostRow | None) -> Value:
    return Value(text="n/a", why="no price") if row is None else _number(row.thousand, format_rate)


def _state(model: ModelSummary) -> str:
    parts = [
        f"{count} {word}"
        for count, word in ((model.failed_cells, "failed"), (model.inconclusive_cells, "undecided"))
        if count
    ]
    if model.deaths:
        parts.append(
            f"{how_many(model.deaths, 'process')} lost" if model.deaths == 1 else f"{model.deaths} processes lost"
        )
    judged = any(cell.verdict is not None for cell in model.cells)
    return ", ".join(parts) or ("pass" if judged else "not judged")


def _model_facts(model: ModelSummary) -> Iterator[tuple[str, str]]:
    yield "spec", one_line(model.spec)
    yield "process starts", str(model.starts)
    if model.deaths:
        yield "processes lost", str(model.deaths)
    if model.price is not None:
        yield "price", one_line(" ".join(filter(None, (model.price.name, model.price.source, model.price.date))))
    for name, metric in model.metrics.items():
        if metric.scope == "worker":
            value = model.summary(name).median
            if not isinstance(value, Missing):
                yield metric.heading, format_quantity(value, metric.unit)
    yield from flat(model.facts)


def _worker_reasons(model: ModelSummary) -> Iterator[tuple[str, str]]:
    for name, why in model.worker_reasons.items():
        yield name, one_line(why)


def _estimate(estimate: Estimate | None, write: Callable[[float], str]) -> str:
    if estimate is None:
        return "n/a"
    text = write(estimate.value)
    if estimate.low < estimate.high:
        text += f" ({write(estimate.low)} to {write(estimate.high)})"
    return f"{text}; {one_line(estimate.note)}" if estimate.note else text


def _standing(each: Standing) -> str:
    if not each.dominated_by:
        return "yes"
    return f"no: {one_line(each.dominated_by)} is nowhere worse, better in {', '.join(each.better_in)}"


def _cost_texts(row: CostRow) -> tuple[str, ...]:
    day = "n/a" if row.day is None else _usd(row.day.whole)
    return one_line(row.model), one_line(row.price.name), _usd(row.thousand), _usd(row.million_tokens), day


def _rate(price: Price) -> str:
    if price.usd_per_hour is not None:
        return f"{price.usd_per_hour:g} USD an hour"
    given, got = price.usd_per_million_input_tokens or 0.0, price.usd_per_million_output_tokens or 0.0
    return f"{given:g} USD a million prompt tokens, {got:g} USD a million output tokens"


def _known(value: Number) -> float | None:
    return None if isinstance(value, Missing) else float(value)


def _usd(value: Number) -> str:
    return "n/a" if isinstance(value, Missing) else format_rate(value)


def utc(text: str) -> str:
    """
    >>> utc("2026-01-01T00:00:00.123Z")
    '2026-01-01 00:00:00 UTC'
    """
    return f"{text[:10]} {text[11:19]} UTC" if len(text) >= 19 else text
