"""How long something will take, from what the same models took last time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_history(output: Path) -> dict[str, Any]:
    """Model -> metric -> median of the last run; empty where there is none that can be read.

    :param output: folder of the run folders; ``latest/metrics.json`` is read.
    """
    return read_metrics(output / "latest" / "metrics.json")


def read_metrics(path: Path) -> dict[str, Any]:
    """The same of one ``metrics.json``."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def estimate_seconds(history: dict[str, Any], alias: str, *, answers: int, tokens: int | None) -> float | None:
    """Predicted time of loading one model and having it answer; None where it has never run here.

    :param history: what :func:`read_history` found.
    :param answers: measured rounds and warm-ups over all its cells.
    :param tokens: length of each answer where it is fixed; None to expect the length of last time.
    """
    known = history.get(alias)
    latency, before = _number(known, "latency"), _number(known, "output_tokens")
    if latency is None:
        return None
    starting = sum(_number(known, name) or 0.0 for name in ("start_time", "import_time", "load_time"))
    return starting + answers * latency * (tokens / before if tokens and before else 1.0)


def _number(known: Any, metric: str) -> float | None:
    value = known.get(metric) if isinstance(known, dict) else None
    return float(value) if isinstance(value, (int, float)) else None
