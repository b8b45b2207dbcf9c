"""What the models of a run cost: each at each price, per 1,000 requests, per million tokens and a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import fmean
from typing import Final

from ...cost.estimate import DailyCost, daily_cost, doubt, per_million_tokens, request_cost
from ...cost.prices import packaged_prices
from ...records import Missing, Number, Price
from ...text import one_line, shortened, wrapped
from ...units import format_rate
from .report import ModelSummary, SessionReport

REQUESTS_A_DAY: Final = 10_000
"""The scenario, unless told otherwise."""
_MOST_NAMED: Final = 5
_LONGEST_NAME: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class CostRow:
    """One model at one price, in USD."""

    model: str
    price: Price
    request: Number
    """Mean cost of a request; missing where the model gave no number to compute it from."""
    million_tokens: Number
    """Of a million output tokens at the measured speed."""
    day: DailyCost | None
    """Of so many requests; None where :attr:`request` is missing."""

    @property
    def thousand(self) -> Number:
        """Of 1,000 requests."""
        return self.request if isinstance(self.request, Missing) else self.request * 1000


def cost_rows(report: SessionReport, prices: Sequence[Price], *, requests: int = REQUESTS_A_DAY) -> list[CostRow]:
    """Every model at every price, in the order of both."""
    return [_row(model, price, requests) for model in report.models for price in prices]


def chosen_rows(report: SessionReport, *, requests: int = REQUESTS_A_DAY) -> list[CostRow]:
    """Every model that has a price, at that price."""
    return [_row(model, model.price, requests) for model in report.models if model.price is not None]


def prices_of(report: SessionReport) -> list[Price]:
    """What a run is shown at: the prices that its session named, else the packaged ones."""
    return report.header.prices or list(packaged_prices().prices.values())


def _row(model: ModelSummary, price: Price, requests: int) -> CostRow:
    latencies, prompts, outputs = (_values(model, name) for name in ("latency", "prompt_tokens", "output_tokens"))
    if not latencies:
        median = model.summary("latency").median if "latency" in model.metrics else None
        why = median if isinstance(median, Missing) else Missing("latency was not measured")
        return CostRow(model=model.alias, price=price, request=why, million_tokens=why, day=None)
    latency = fmean(latencies)
    tokens = fmean(outputs) if outputs else None
    request = request_cost(price, latency, fmean(prompts) if prompts else None, tokens)
    if isinstance(request, Missing):
        return CostRow(model=model.alias, price=price, request=request, million_tokens=request, day=None)
    million = (
        Missing("this model source does not count tokens") if tokens is None else per_million_tokens(request, tokens)
    )
    return CostRow(
        model=model.alias,
        price=price,
        request=request,
        million_tokens=million,
        day=daily_cost(price, request, latency, requests),
    )


def _values(model: ModelSummary, metric: str) -> list[float]:
    return model.values(metric) if metric in model.metrics else []


def cost_table(rows: Sequence[CostRow], *, requests: int, width: int, today: date) -> list[str]:
    """The rows for people, with what they leave out and which prices may not hold."""
    if not rows:
        return []
    titles = ("model", "price", "1,000 requests", "million tokens", f"{requests:,} a day", "machines")
    cells = [
        (
            shortened(one_line(row.model), _LONGEST_NAME), shortened(one_line(row.price.name), _LONGEST_NAME), _usd(row.thousand),
            _usd(row.million_tokens), _usd(row.day.whole) if row.day else "n/a", _machines(row.day),
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(len(row[place]) for row in (titles, *cells)) for place in range(len(titles))]
    lines = [
        "  ".join(
            text.ljust(wide) if place < 2 else text.rjust(wide)
            for place, (text, wide) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (titles, *cells)
    ]
    by_hour = any(row.price.usd_per_hour is not None for row in rows)
    speed = " One request after the other at the measured speed: batching makes requests cheaper, idle machines dearer."
    notes = [f"USD.{speed if by_hour else ''}", *doubtful_prices(rows, today)]
    missing = {row.model: row.request.reason for row in rows if isinstance(row.request, Missing)}
    notes += [f"No cost of {one_line(model)}: {one_line(reason)}." for model, reason in missing.items()]
    return [*lines, *(line for note in notes for line in wrapped(note, width))]


def doubtful_prices(rows: Sequence[CostRow], today: date) -> list[str]:
    """A line that names the prices that may not hold and why, if there are any."""
    doubtful: dict[str, list[str]] = {}
    for price in {row.price.name: row.price for row in rows}.values():
        if why := doubt(price, today):
            doubtful.setdefault(one_line(why), []).append(one_line(price.name))
    told = [f"{_some(names)} ({why})" for why, names in doubtful.items()]
    return [f"Prices that may not hold: {', '.join(told)}."] if told else []


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _usd(value: Number) -> str:
    """
    >>> _usd(0.0), _usd(0.000123456), _usd(12.345), _usd(1234.5)
    ('0', '0.000123', '12.3', '1,234')
    """
    if isinstance(value, Missing):
        return "n/a"
    return f"{value:,.0f}" if value >= 100 else format_rate(value)


def _machines(day: DailyCost | None) -> str:
    if day is None:
        return "n/a"
    return "-" if day.machines is None else str(day.machines)
