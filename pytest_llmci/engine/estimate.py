"""How long something will take, from what the same models took last time."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any


def estimate_seconds(output: Path, alias: str, *, answers: int, tokens: int | None) -> float | None:
    """Predicted time of loading one model and having it answer; None where it has never run here.

    :param output: folder of the run folders; ``latest/metrics.json`` is read.
    :param answers: measured rounds and warm-ups over all its cells.
    :param tokens: length of each answer where it is fixed; None to expect the length of last time.
    """
    history = _history(output / "latest" / "metrics.json").get(alias)
    latency, before = _number(history, "latency"), _number(history, "output_tokens")
    if latency is None:
        return None
    starting = sum(_number(history, name) or 0.0 for name in ("start_time", "import_time", "load_time"))
    return starting + answers * latency * (tokens / before if tokens and before else 1.0)


def _number(history: Any, metric: str) -> float | None:
    value = history.get(metric) if isinstance(history, dict) else None
    return float(value) if isinstance(value, (int, float)) else None


@lru_cache(maxsize=4)
def _history(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
