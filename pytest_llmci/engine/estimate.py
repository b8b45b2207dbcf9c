"""How long something will take, from what the same cells took last time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..records import Cell
from .schedule import CellPlan


def estimate_seconds(output: Path, cells: Sequence[tuple[Cell, CellPlan]]) -> float | None:
    """Predicted time of loading one model and measuring its cells; None where it has never run here.

    :param output: folder of the run folders; ``latest/metrics.json`` is read.
    :param cells: the cells of one model.
    """
    if not cells:
        return 0.0
    history = _history(output / "latest" / "metrics.json").get(cells[0][0].model.alias)
    latency, tokens = _number(history, "latency"), _number(history, "output_tokens")
    if latency is None:
        return None
    load = _number(history, "load_time") or 0.0
    total = load
    for _, plan in cells:
        scale = plan.generation.max_new_tokens / tokens if tokens and plan.generation.fixed_length else 1.0
        total += latency * scale * (plan.rounds + plan.warmup)
    return total


def _number(history: Any, metric: str) -> float | None:
    value = history.get(metric) if isinstance(history, dict) else None
    if isinstance(value, dict):
        value = value.get("median")
    return float(value) if isinstance(value, (int, float)) else None


@lru_cache(maxsize=4)
def _history(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
