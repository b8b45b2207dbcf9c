"""Score of each model against its latency, and the models that no other one beats in both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ..stats.intervals import LEVEL, MeanInterval, pareto_front
from ..text import how_many
from .base import BLUE, FAINT, entitle
from .rows import (
    ValueAxis,
    cut,
    cut_words,
    lacking_words,
    legend_above,
    row_of,
    run_noise,
    sentences,
    set_axis,
    value_axis,
)
from .scatter import Name, frame, place_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .run_data import RunData

MOST_POINTS: Final = 200


@dataclass(frozen=True, kw_only=True)
class ScorePoint:
    """One model."""

    model: str
    latency: MeanInterval
    """Seconds."""
    score: float
    """Per cent."""
    published: str
    """Who published it; empty where it was measured in this run."""


@dataclass(frozen=True, kw_only=True)
class ScoreLatency:
    """Models that have both."""

    points: tuple[ScorePoint, ...]
    models: int
    without: int = 0
    """Models with a latency and no score, or the other way round."""
    noise: str = ""
    """How many rounds are noisy, in a sentence."""
    why: str = ""
    name: str = "score-against-latency"
    inches: tuple[float, float] = (8.0, 5.2)

    @classmethod
    def of(cls, data: RunData) -> ScoreLatency:
        """Of a run. Of very many models the front is kept, then those with the highest score."""
        import numpy as np

        found = []
        for model in data.models:
            row = row_of(model, "latency")
            if row is not None and model.score is not None:
                score = model.score
                found.append(
                    ScorePoint(model=model.model, latency=row.interval, score=score.value, published=score.published)
                )
        best = pareto_front(*(np.array(column) for column in _columns(found))) if found else []
        order = {id(found[place]): rank for rank, place in enumerate(best)}
        points, models = cut(found, lambda point: order.get(id(point), len(best) + 100 - point.score), MOST_POINTS)
        return cls(
            points=tuple(points),
            models=models,
            without=len(data.models) - len(found),
            noise=run_noise(data),
            why=_why(data),
        )

    def lacking(self) -> str:
        return "" if self.points else self.why

    def draw(self, figure: Figure) -> None:
        import numpy as np

        latencies, scores = _columns(self.points)
        scale = value_axis([latencies], "s")
        axes = figure.add_subplot()
        frame(axes)
        front = pareto_front(np.array(latencies), np.array(scores))
        ends = [self._ends(point, scale) for point in self.points]
        for (left, right), point in zip(ends, self.points, strict=True):
            if right > left:
                axes.plot([left, right], [point.score] * 2, color=FAINT, linewidth=1.4, zorder=2)
        steps = [self.points[place] for place in front]
        if len(steps) > 1:
            axes.plot(
                [step.latency.mean / scale.factor for step in steps], [step.score for step in steps], color=BLUE, linewidth=1.3,
                linestyle="--", drawstyle="steps-post", zorder=1, label="front",
            )  # fmt: skip
        for published, meaning in ((False, "measured score"), (True, "published score")):
            chosen = [point for point in self.points if bool(point.published) == published]
            if chosen:
                axes.plot(
                    [point.latency.mean / scale.factor for point in chosen], [point.score for point in chosen],
                    "o" if not published else "s", color="white" if published else BLUE, markeredgecolor=BLUE, markersize=7,
                    markeredgewidth=1.6, zorder=3, label=meaning,
                )  # fmt: skip
        axes.margins(x=0.1, y=0.12)
        set_axis(axes, "x", scale, "mean latency")
        axes.set_ylabel("score (%)")
        legend_above(axes, columns=3)
        first = [*front, *(place for place in range(len(self.points)) if place not in front)]
        names = [
            Name(
                x=latencies[place] / scale.factor, y=scores[place], text=self.points[place].model, strong=place in front
            )
            for place in first
        ]
        marks = [
            *_along(steps, scale),
            *((left, right, point.score) for (left, right), point in zip(ends, self.points, strict=True)),
        ]
        sources = sorted({point.published for point in self.points if point.published})
        words = (
            f"Published scores (squares) are of {', '.join(sources)} and were not measured here." if sources else "",
            f"Lines: {LEVEL * 100:.0f} % t interval of the mean latency for these prompts."
            if self._has_intervals()
            else "",
            f"Bold: the Pareto front ({how_many(len(front), 'model')}): no model is both as fast and better, or as good and faster.",
            self.noise,
            cut_words(len(self.points), self.models, "of the front and with the highest scores"),
            lacking_words(self.without, "both score and latency"),
        )
        entitle(figure, "Score against latency", sentences(*words))
        if left := place_names(figure, axes, names, marks):
            entitle(figure, "Score against latency", sentences(*words, f"{how_many(left, 'name')} found no room."))

    def _ends(self, point: ScorePoint, scale: ValueAxis) -> tuple[float, float]:
        """Of what is drawn beside the mark, in the unit of the axis."""
        mean, low, high = point.latency.mean, point.latency.low, point.latency.high
        if low is None or high is None or not self._has_intervals():
            return mean / scale.factor, mean / scale.factor
        return max(low, mean / 2 if scale.logarithmic else 0) / scale.factor, high / scale.factor

    def _has_intervals(self) -> bool:
        return len(self.points) <= 60 and any(point.latency.low is not None for point in self.points)


def _along(steps: list[ScorePoint], scale: ValueAxis) -> Iterator[tuple[float, float, float]]:
    """What the line of the front covers, as marks."""
    for one, other in pairwise(steps):
        left, right = one.latency.mean / scale.factor, other.latency.mean / scale.factor
        yield left, right, one.score
        yield from ((right, right, one.score + (other.score - one.score) * part / 16) for part in range(1, 16))


def _columns(points: list[ScorePoint] | tuple[ScorePoint, ...]) -> tuple[list[float], list[float]]:
    return [point.latency.mean for point in points], [point.score for point in points]


def _why(data: RunData) -> str:
    if not data.measured("latency"):
        return data.why_missing("latency")
    return (
        "no model has a score: a benchmark suite measures one, and --llmci-scores=FILE joins published ones"
        if not any(model.score for model in data.models)
        else "no model has both a score and a latency"
    )
