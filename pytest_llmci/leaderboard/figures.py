"""The four figures of a leaderboard: sizes, scores, size against score, correlations."""

from __future__ import annotations

from ..plots.base import Plot
from ..plots.heat_map import HeatMap
from ..plots.model_sizes import ModelSizes
from ..plots.score_boxes import ScoreBoxes
from ..plots.size_score import SizeScore
from .describe import Description


def figures(found: Description) -> list[Plot]:
    """What there is to draw of a leaderboard, over the rows that were described."""
    board, entries = found.board, found.entries
    what = "models" if len(entries) == found.models else "rows"
    pair = found.correlation(board.size, board.average) if board.size else None
    scores = {name: tuple(entry.scores.get(name) for entry in entries) for name in board.benchmarks}
    return [
        ModelSizes(sizes_b=tuple(entry.size_b for entry in entries), what=what),
        ScoreBoxes(scores={**scores, board.average: tuple(entry.average for entry in entries)}, what=what),
        SizeScore(
            points=tuple((entry.size_b, entry.average) for entry in entries), r=pair.r if pair else None,
            score=board.average, what=what,
        ),
        HeatMap(
            titles=tuple(column.title for column in found.columns),
            r={frozenset((each.one, each.other)): each.r for each in found.correlations},
        ),
    ]  # fmt: skip
