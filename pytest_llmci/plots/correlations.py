"""How latency, memory, CPU and score of models go together: a heat map over the models of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..stats.intervals import LEAST_PAIRS, PairCorrelation, pearson
from ..text import how_many
from .heat_map import HeatMap

if TYPE_CHECKING:
    from .run_data import RunData

COLUMNS: Final = {"latency": "latency", "memory": "peak_rss", "CPU": "cpu_percent"}
"""Title -> metric, of which the mean of each model is taken."""


def correlations(data: RunData) -> HeatMap:
    """The heat map of a run's models; a note where there are too few of them."""
    import numpy as np

    columns = {title: _filled([model.mean(metric) for model in data.models]) for title, metric in COLUMNS.items()}
    scores = [model.score for model in data.models]
    published = any(score.published for score in scores if score)
    columns["score (published)" if published else "score"] = _filled(
        [score.value if score else None for score in scores]
    )
    models = sum(map(bool, map(len, data.models)))
    titles = tuple(columns)
    pairs: dict[frozenset[str], PairCorrelation] = {
        frozenset((one, other)): pearson(np.array(columns[one]), np.array(columns[other]))
        for place, one in enumerate(titles)
        for other in titles[:place]
    }
    few = (
        f"a correlation over models needs {LEAST_PAIRS} of them; this run has {models}" if models < LEAST_PAIRS else ""
    )
    return HeatMap(
        titles=titles,
        r={pair: found.r for pair, found in pairs.items()},
        n={pair: found.n for pair, found in pairs.items()},
        title=f"Correlation over {how_many(models, 'model')}",
        caption="Pearson's r of the models' means; n: models that have both. A few models prove no relation; n/a: fewer than"
        f" {LEAST_PAIRS} models, or a column without spread.",
        why=few,
    )


def _filled(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
