"""What a thousand requests cost, for each model and price, at the latency and lengths that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..cost.estimate import request_cost
from ..records import Missing, Price
from ..stats.intervals import LEVEL, MeanInterval, mean_interval
from ..text import how_many
from .base import INK, entitle, labels
from .rows import (
    cut,
    cut_words,
    lacking_words,
    name_rows,
    rows_inches,
    run_noise,
    sentences,
    set_axis,
    value_axis,
)
from .scatter import STYLES, name_models

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .run_data import ModelRounds, RunData

REQUESTS: Final = 1000
MOST_PRICES: Final = len(STYLES)


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """USD of a thousand requests of one model."""

    model: str
    usd: tuple[MeanInterval | None, ...] = field(repr=False)
    """One for each price; None where it cannot be told."""

    @property
    def least(self) -> float:
        """The lowest mean."""
        return min(each.mean for each in self.usd if each is not None)


@dataclass(frozen=True, kw_only=True)
class CostByPrice:
    """Rows by rising cost."""

    prices: tuple[str, ...]
    """Names, as many as there are looks."""
    rows: tuple[CostRow, ...]
    models: int
    free: tuple[str, ...] = ()
    """Prices of 0."""
    left_out: int = 0
    """Further prices."""
    without: int = 0
    noise: str = ""
    """How many rounds are noisy, in a sentence."""
    why: str = ""
    name: str = "cost"

    @classmethod
    def of(cls, data: RunData) -> CostByPrice:
        """Of a run, at the prices that come with this package."""
        return cls.at(data, data.prices)

    @classmethod
    def at(cls, data: RunData, prices: Sequence[Price]) -> CostByPrice:
        """Of a run, at these prices."""
        paid = [price for price in prices if not _is_free(price)]
        shown = paid[:MOST_PRICES]
        found = [row for model in data.models if (row := _row(model, shown)) is not None]
        rows, models = cut(found, lambda row: row.least)
        why = "" if rows else ("no price is above 0" if not shown else data.why_missing("latency"))
        return cls(
            prices=tuple(price.name for price in shown), rows=tuple(rows), models=models,
            free=tuple(price.name for price in prices if _is_free(price)), left_out=len(paid) - len(shown),
            without=len(data.models) - len(found), noise=run_noise(data), why=why,
        )  # fmt: skip

    @property
    def inches(self) -> tuple[float, float]:
        return (9.5, rows_inches(len(self.rows))[1] + 0.5)

    def lacking(self) -> str:
        return "" if self.rows else self.why

    def draw(self, figure: Figure) -> None:
        axes = figure.add_subplot()
        means = [each.mean for row in self.rows for each in row.usd if each is not None]
        scale = value_axis([means], "USD")
        step = 0.7 / max(1, len(self.prices))
        dense = len(self.rows) > 24
        for number, style in zip(range(len(self.prices)), STYLES, strict=False):
            shift = (number - (len(self.prices) - 1) / 2) * step
            for place, row in enumerate(self.rows):
                each = row.usd[number]
                if each is not None and each.low is not None and each.high is not None:
                    ends = [max(each.low, each.mean / 2 if scale.logarithmic else 0.0), each.high]
                    axes.plot(ends, [place + shift] * 2, color=INK, linewidth=1, zorder=2, alpha=0.7)
            known = [(row.usd[number], place) for place, row in enumerate(self.rows)]
            axes.plot(
                [each.mean for each, _ in known if each], [place + shift for each, place in known if each], style.marker,
                color=style.colour, markersize=3.5 if dense else 6, markeredgecolor=INK, markeredgewidth=0.4, zorder=3,
            )  # fmt: skip
        for place in range(1, len(self.rows)):
            axes.axhline(place - 0.5, color="#EEEEEE", linewidth=0.8, zorder=0)
        set_axis(axes, "x", scale, "cost of 1,000 requests")
        name_rows(axes, [row.model for row in self.rows])
        name_models(axes, self.prices)
        free = ", ".join(labels(self.free))
        entitle(
            figure,
            "Cost of 1,000 requests",
            sentences(
                "Marks: mean cost at the latency and lengths measured here, one request after the other; another machine has"
                " other latencies, so compare prices only for machines like this one.",
                f"Lines: {LEVEL * 100:.0f} % t interval for these prompts." if self._has_intervals() else "",
                self.noise,
                f"Free and not shown: {free}." if free else "",
                f"{how_many(self.left_out, 'further price')} not shown." if self.left_out else "",
                cut_words(len(self.rows), self.models, "cheapest"),
                lacking_words(self.without, "a cost"),
            ),
        )

    def _has_intervals(self) -> bool:
        return any(each.low is not None for row in self.rows for each in row.usd if each is not None)


def _is_free(price: Price) -> bool:
    return not any((price.usd_per_hour, price.usd_per_million_input_tokens, price.usd_per_million_output_tokens))


def _row(model: ModelRounds, prices: Sequence[Price]) -> CostRow | None:
    usd = tuple(_cost(model, price) for price in prices)
    return CostRow(model=model.model, usd=usd) if any(each is not None for each in usd) else None


def _cost(model: ModelRounds, price: Price) -> MeanInterval | None:
    import numpy as np

    latency, asked, answered = (model.columns[name] for name in ("latency", "prompt_tokens", "output_tokens"))
    needed = [latency] if price.usd_per_hour is not None else [asked, answered]
    known = np.isfinite(needed).all(axis=0)
    if not known.any():
        return None
    # what a request costs is linear in time and tokens
    usd = np.zeros(int(known.sum()))
    for column, unit in ((latency, (1.0, 0.0, 0.0)), (asked, (0.0, 1.0, 0.0)), (answered, (0.0, 0.0, 1.0))):
        each = request_cost(price, *unit)
        if not isinstance(each, Missing) and each:
            usd += float(each) * column[known]
    return mean_interval(REQUESTS * usd, model.cell[known])
