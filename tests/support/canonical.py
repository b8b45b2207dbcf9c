"""A log's records in canonical order, so that a merged run can be held against a single one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OF_TIME = frozenset(
    {
        "sha256",
        "line",
        "started",
        "values",
        "reasons",
        "token_ns",
        "noisy",
        "noisy_rounds",
        "pid",
        "worker_values",
        "contended",
    }
)
"""Of a line: what is measured, or of the machine, and so differs between two runs of one thing."""
OF_TIME_IN_A_BUDGET = frozenset({"observed", "values", "p_value", "reason"})


def canonical_lines(folder: Path) -> list[dict[str, Any]]:
    """All lines but header, footer and shard: models by name, each one's lines in their order, identifiers by their place."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for text in (folder / "log.jsonl").read_text("utf-8").splitlines():
        line = json.loads(text)
        if line["type"] in ("header", "footer", "shard"):
            continue
        whole = line["type"] == "gate" and not line["uid"]
        groups.setdefault("~" + line["name"] if whole else line.get("model") or line["models"][0], []).append(line)
    lines = [line for name in sorted(groups) for line in groups[name]]
    places = {line["uid"]: number for number, line in enumerate(lines) if line["uid"]}
    return [_settled(line, places) for line in lines]


def _settled(line: dict[str, Any], places: dict[str, int]) -> dict[str, Any]:
    kept = {name: value for name, value in line.items() if name not in OF_TIME}
    kept["uid"] = places.get(line["uid"])
    if line["type"] in ("rounds", "questions"):
        kept["worker"] = places[line["worker"]]
    if line["type"] == "worker":
        kept["info"] = {name: value for name, value in line["info"].items() if name != "pid"}
    if line["type"] == "verdict":
        kept["budgets"] = [
            {
                name: value
                for name, value in budget.items()
                if name not in OF_TIME_IN_A_BUDGET or budget["p_value"] is None
            }
            for budget in line["budgets"]
        ]
    return kept
