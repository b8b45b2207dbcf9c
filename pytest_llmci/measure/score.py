"""The score of a model: what benchmark tasks found, which no round of an inference can have."""

from __future__ import annotations

from typing import Final

from ..metrics import MetricDef

SCORE: Final = MetricDef(
    name="score",
    unit="%",
    direction="higher",
    definition="share of a benchmark's questions that the model answers right, one value a benchmark; over a model the mean of these.",
    excludes="runs over a part of a benchmark's questions, which are shown with their label and are no score of it",
    source="log-probabilities of the choices, or the generated answer; the metric of each benchmark is in docs/benchmark-tasks.md",
    deterministic=True,
    scope="task",
    group="quality",
)
