"""What the header of a merged run says of the parts it was made of."""

from __future__ import annotations

from typing import Final

from ..records import HeaderRecord, Json

MERGED: Final = "merged"
"""Key of the header's settings that holds it."""


def parts_of(header: HeaderRecord) -> list[dict[str, Json]]:
    """The parts, in the order of their shards; empty for a run that was not merged."""
    merged = header.settings.get(MERGED)
    parts = merged.get("parts") if isinstance(merged, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def environment_of(header: HeaderRecord, alias: str) -> dict[str, Json]:
    """The machine and checkout that a model was measured on: in a merged run, that of its shard."""
    for part in parts_of(header):
        models, own = part.get("models"), part.get("environment")
        if isinstance(models, list) and alias in models and isinstance(own, dict):
            return {**header.environment, **own}
    return header.environment
