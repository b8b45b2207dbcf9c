"""How long something will take, from what the same models took last time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ..measure.anchor import TYPICAL_S
from ..store.runfolder import list_runs

MOST_RUNS: Final = 20
"""So many of the last runs are looked into for a model."""


def read_history(output: Path, models: Iterable[str] = ()) -> dict[str, Any]:
    """Model -> metric -> median of the last run; empty where there is none that can be read.

    :param output: folder of the run folders; ``latest/metrics.json`` is read.
    :param models: aliases that are looked for in earlier runs, where the last one measured nothing of them.
    """
    history = read_metrics(output / "latest" / "metrics.json")
    unknown = {alias for alias in models if _number(history.get(alias), "latency") is None}
    for run in reversed(list_runs(output)[-MOST_RUNS:] if unknown else []):
        earlier = read_metrics(run / "metrics.json")
        found = {alias for alias in unknown if _number(earlier.get(alias), "latency") is not None}
        history |= {alias: earlier[alias] for alias in found}
        unknown -= found
        if not unknown:
            break
    return history


def read_metrics(path: Path) -> dict[str, Any]:
    """The same of one ``metrics.json``."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def estimate_seconds(
    history: dict[str, Any], alias: str, *, answers: int, tokens: int | None, anchored: bool = False
) -> float | None:
    """Predicted time of loading one model and having it answer; None where it has never run here.

    :param history: what :func:`read_history` found.
    :param answers: measured rounds and warm-ups over all its cells.
    :param tokens: length of each answer where it is fixed; None to expect the length of last time.
    :param anchored: whether the frozen model is timed beside them.
    """
    known = history.get(alias)
    latency, before = _number(known, "latency"), _number(known, "output_tokens")
    if latency is None:
        return None
    starting = sum(_number(known, name) or 0.0 for name in ("start_time", "import_time", "load_time"))
    beside = (_number(known, "anchor_net_time") or TYPICAL_S) if anchored else 0.0
    return starting + answers * (latency * (tokens / before if tokens and before else 1.0) + beside)


def _number(known: Any, metric: str) -> float | None:
    value = known.get(metric) if isinstance(known, dict) else None
    return float(value) if isinstance(value, (int, float)) else None
