"""Which models of a run are worth having: limits, the Pareto set, and why every other model lost.

What differs by no more than noise is a tie: the intervals of latency and cost are bootstrapped from the rounds of each
prompt, peaks of memory are told apart as in comparisons, measured scores by their standard errors. What is not known is never
taken for met.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from ...cost.estimate import request_cost
from ...records import Missing, Number, Price
from ...stats.memory import RELATIVE_TOLERANCE, TOLERANCE_BYTES
from ...stats.summary import QUANTILE_ROUNDS
from ..reports.report import ModelSummary, SessionReport

if TYPE_CHECKING:
    import numpy as np

Criterion = Literal["score", "latency", "memory", "cost"]
CRITERIA: Final[tuple[Criterion, ...]] = ("score", "latency", "memory", "cost")
HIGHER: Final[frozenset[Criterion]] = frozenset({"score"})
"""Of which more is better."""
RESAMPLES: Final = 400
CONFIDENCE: Final = 0.95
BETWEEN_PROCESSES: Final = 0.03
"""By which times of one program differ from process to process, whatever their rounds say: two standard deviations."""
MOST_ROUNDS: Final = 1000
"""Of a cell in a resample; a median of so many is known well enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """One number of a model, and how far it may be off."""

    value: float
    low: float
    high: float
    note: str = ""
    """What the number is, where it is not what its criterion says: the slowest round for a p95, a published score."""

    def ties(self, other: Estimate) -> bool:
        """Whether noise alone may tell the two apart."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A model among the others."""

    model: str
    estimates: Mapping[Criterion, Estimate]
    missing: Mapping[Criterion, str]
    """Why a number is not known."""
    dominated_by: str = ""
    """A model that is nowhere worse and somewhere better; empty for those of the Pareto set."""
    better_in: tuple[Criterion, ...] = ()
    """Where that model is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a model has to meet; None for no limit."""

    min_score: float | None = None
    """Per cent."""
    max_latency_s: float | None = None
    max_memory_bytes: float | None = None
    max_cost_usd: float | None = None
    """Of a request."""

    def of(self, criterion: Criterion) -> float | None:
        """The limit of one criterion."""
        return {
            "score": self.min_score, "latency": self.max_latency_s, "memory": self.max_memory_bytes, "cost": self.max_cost_usd,
        }[criterion]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """A model that was not chosen."""

    standing: Standing
    over: tuple[Criterion, ...] = ()
    """Limits that it does not meet."""
    unknown: tuple[Criterion, ...] = ()
    """Limits of which nobody knows."""
    behind: Criterion | None = None
    """Where the chosen model is better, of a model within the limits; None where the two tie in all that counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """What became of every model."""

    limits: Limits
    order: tuple[Criterion, ...]
    """What decides among those within the limits, the first that is no tie."""
    chosen: Standing | None
    unsure: tuple[Criterion, ...] = ()
    """Limits that the chosen model meets, but by less than noise."""
    lost: tuple[Lost, ...] = field(default=())


# ----------------------------------------------------------------------------------------------------------- estimates


def standings(report: SessionReport, price: Price | None = None) -> list[Standing]:
    """Every model of a run with its numbers, and whether another one dominates it.

    :param price: for all models, in place of those that the session named.
    """
    return placed([_estimates(model, price or model.price) for model in report.models])


def placed(found: Sequence[Standing]) -> list[Standing]:
    """The models, each with the one that dominates it."""
    return [
        each if by is None else replace(each, dominated_by=found[by].model, better_in=_better_in(found[by], each))
        for each, by in zip(found, _dominating(found), strict=True)
    ]


def _dominating(found: Sequence[Standing]) -> list[int | None]:
    """Of each model the first one that is nowhere worse and somewhere better, by its place."""
    if not found:
        return []
    import numpy as np

    better = np.zeros((len(found), len(found)), bool)  # [one, other]: in any criterion
    for name in CRITERIA:
        known = np.array([name in each.estimates for each in found], bool)
        sign = -1.0 if name in HIGHER else 1.0
        value, low, high = (
            np.array(
                [
                    sign * float(getattr(each.estimates[name], part)) if name in each.estimates else math.inf
                    for each in found
                ]
            )
            for part in ("value", *(("high", "low") if name in HIGHER else ("low", "high")))
        )
        apart = (low[:, None] > high[None, :]) | (low[None, :] > high[:, None])
        better |= known[:, None] & (~known[None, :] | (apart & (value[:, None] < value[None, :])))
    dominates = better & ~better.T
    return [int(place) if dominates[place, other] else None for other, place in enumerate(dominates.argmax(axis=0))]


def _better_in(one: Standing, other: Standing) -> tuple[Criterion, ...]:
    """Criteria in which one model is better than another beyond noise; one that is known of one alone counts for it."""
    return tuple(criterion for criterion in CRITERIA if _is_better(one, other, criterion))


def _is_better(one: Standing, other: Standing, criterion: Criterion) -> bool:
    mine, theirs = one.estimates.get(criterion), other.estimates.get(criterion)
    if mine is None or theirs is None:
        return mine is not None
    return not mine.ties(theirs) and (mine.value > theirs.value) == (criterion in HIGHER)


def _estimates(model: ModelSummary, price: Price | None) -> Standing:
    read: dict[Criterion, Estimate | str] = {
        "score": _score(model),
        "latency": _latency(model),
        "memory": _memory(model),
        "cost": _cost(model, price),
    }
    return Standing(
        model=model.alias,
        estimates={name: value for name, value in read.items() if isinstance(value, Estimate)},
        missing={name: value for name, value in read.items() if isinstance(value, str)},
    )


def _score(model: ModelSummary) -> Estimate | str:
    if "score" in model.metrics and (values := model.values("score")):
        mean = math.fsum(values) / len(values)
        return Estimate(value=mean, low=mean, high=mean)
    if model.published is not None:
        value = model.published.value
        return Estimate(value=value, low=value, high=value, note=f"published: {model.published.source}")
    return "no benchmark was run, and no score was joined (--llmci-scores)"


def _latency(model: ModelSummary) -> Estimate | str:
    samples = _samples(model, "latency")
    n = sum(map(len, samples))
    if not n:
        return _why(model, "latency")
    if n < QUANTILE_ROUNDS:
        note = f"{'the only round' if n == 1 else f'the slowest of {n} rounds'}: p95 needs {QUANTILE_ROUNDS}"
        return _interval(samples, lambda drawn, axis: drawn.max(axis=axis), note)
    return _interval(samples, _p95)


def _p95(drawn: np.ndarray, axis: int) -> np.ndarray:
    import numpy as np

    found: np.ndarray = np.quantile(drawn, 0.95, axis=axis)
    return found


def _memory(model: ModelSummary) -> Estimate | str:
    peaks = [value for cell in model.cells for value in cell.values("peak_rss")] if "peak_rss" in model.metrics else []
    if not peaks:
        return _why(model, "peak_rss")
    peak = max(peaks)
    half = max(RELATIVE_TOLERANCE * peak, TOLERANCE_BYTES) / 2
    return Estimate(value=peak, low=peak - half, high=peak + half)


def _cost(model: ModelSummary, price: Price | None) -> Estimate | str:
    if price is None:
        return "no price (--llmci-prices, or --prices)"
    if price.usd_per_hour is not None:
        samples = _samples(model, "latency")
        if not any(map(len, samples)):
            return _why(model, "latency")
        by_second = price.usd_per_hour / 3600
        found = _interval(samples, lambda drawn, axis: drawn.mean(axis=axis))
        return Estimate(value=found.value * by_second, low=found.low * by_second, high=found.high * by_second)
    asked, said = (_mean(model, name) for name in ("prompt_tokens", "output_tokens"))
    cost: Number = request_cost(price, 0.0, asked, said)
    if isinstance(cost, Missing):
        return cost.reason
    return Estimate(value=cost, low=cost, high=cost)


def _mean(model: ModelSummary, metric: str) -> float | None:
    values = model.values(metric) if metric in model.metrics else []
    return math.fsum(values) / len(values) if values else None


def _samples(model: ModelSummary, metric: str) -> list[list[float]]:
    """The rounds of each cell."""
    if metric not in model.metrics:
        return []
    return [values for cell in model.cells if (values := cell.values(metric))]


def _why(model: ModelSummary, metric: str) -> str:
    median = model.summary(metric).median if metric in model.metrics else None
    return median.reason if isinstance(median, Missing) and median.reason else f"{metric} was not measured"


def _interval(
    samples: Sequence[Sequence[float]], statistic: Callable[[np.ndarray, int], np.ndarray], note: str = ""
) -> Estimate:
    """A statistic over all rounds, with its bootstrap interval: rounds are drawn anew within each prompt.

    The interval holds the value: of a few rounds the percentiles of resamples may miss it.
    """
    import numpy as np

    random = np.random.default_rng(0)
    cells = [np.asarray(values[:MOST_ROUNDS]) for values in samples]
    value = float(statistic(np.concatenate(cells)[None, :], 1)[0])
    drawn = np.concatenate([cell[random.integers(len(cell), size=(RESAMPLES, len(cell)))] for cell in cells], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(drawn, 1), [tail, 1 - tail])
    low, high = min(float(low), value) * (1 - BETWEEN_PROCESSES), max(float(high), value) * (1 + BETWEEN_PROCESSES)
    return Estimate(value=value, low=low, high=high, note=note)


# ------------------------------------------------------------------------------------------------------------ choosing


def recommend(found: Sequence[Standing], limits: Limits, prefer: Criterion | None = None) -> Recommendation:
    """The model to take: within every limit, then the best by :attr:`Recommendation.order`.

    :param prefer: what counts first; by default the score where any is known, else the cost, else latency.
    """
    order = _order(found, prefer)
    fits = [each for each in found if not _over(each, limits) and not _unknown(each, limits)]
    chosen = _best(fits, order)
    lost = tuple(
        Lost(
            standing=each, over=_over(each, limits), unknown=_unknown(each, limits), behind=_behind(each, chosen, order)
        )
        for each in found
        if chosen is None or each.model != chosen.model
    )
    return Recommendation(limits=limits, order=order, chosen=chosen, unsure=_unsure(chosen, limits), lost=lost)


def _order(found: Sequence[Standing], prefer: Criterion | None) -> tuple[Criterion, ...]:
    known = [name for name in ("score", "cost", "latency", "memory") if any(name in each.estimates for each in found)]
    ordered: list[Criterion] = [name for name in CRITERIA if name in known]
    ordered.sort(key=known.index)
    if prefer is not None:
        ordered = [prefer, *(name for name in ordered if name != prefer)]
    return tuple(ordered)


def _best(fits: Sequence[Standing], order: Sequence[Criterion]) -> Standing | None:
    """Those that tie with the best in what counts first go on to what counts next; the last ties fall to the better number."""
    left = list(fits)
    for criterion in order:
        having = [each for each in left if criterion in each.estimates]
        if not having:
            continue
        top = min(having, key=lambda each: _rank(each, criterion))
        left = [each for each in having if each.estimates[criterion].ties(top.estimates[criterion])]
    if not left:
        return None
    return min(left, key=lambda each: [_rank(each, name) for name in order])


def _rank(standing: Standing, criterion: Criterion) -> float:
    estimate = standing.estimates.get(criterion)
    if estimate is None:
        return math.inf
    return -estimate.value if criterion in HIGHER else estimate.value


def _over(standing: Standing, limits: Limits) -> tuple[Criterion, ...]:
    return tuple(
        name for name in CRITERIA
        if (limit := limits.of(name)) is not None and (estimate := standing.estimates.get(name)) is not None
        and (estimate.value < limit if name in HIGHER else estimate.value > limit)
    )  # fmt: skip


def _unknown(standing: Standing, limits: Limits) -> tuple[Criterion, ...]:
    return tuple(name for name in CRITERIA if limits.of(name) is not None and name not in standing.estimates)


def _unsure(chosen: Standing | None, limits: Limits) -> tuple[Criterion, ...]:
    if chosen is None:
        return ()
    return tuple(
        name for name, estimate in chosen.estimates.items()
        if (limit := limits.of(name)) is not None and (estimate.low < limit if name in HIGHER else estimate.high > limit)
    )  # fmt: skip


def _behind(standing: Standing, chosen: Standing | None, order: Sequence[Criterion]) -> Criterion | None:
    if chosen is None:
        return None
    return next((name for name in order if _is_better(chosen, standing, name)), None)
