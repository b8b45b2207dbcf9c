"""Where each model of a run was measured: the session's machine, that of its shard in a merged run, or a parallel worker's own."""

from __future__ import annotations

from typing import Final

from ..records import HeaderRecord, Json, WorkerRecord

MERGED: Final = "merged"
"""Key of the header's settings that holds what a merged run was made of."""
MACHINE: Final = "machine"
"""Key of a start's info: facts of the machine, where that is another than the session's."""


def parts_of(header: HeaderRecord) -> list[dict[str, Json]]:
    """The parts, in the order of their shards; empty for a run that was not merged."""
    merged = header.settings.get(MERGED)
    parts = merged.get("parts") if isinstance(merged, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def environment_of(header: HeaderRecord, alias: str, worker: WorkerRecord | None = None) -> dict[str, Json]:
    """The machine and checkout that a model was measured on.

    :param worker: a start of its process; None where it had none.
    """
    machine = worker.info.get(MACHINE) if worker is not None else None
    elsewhere = machine if isinstance(machine, dict) else {}
    for part in parts_of(header):
        models, own = part.get("models"), part.get("environment")
        if isinstance(models, list) and alias in models and isinstance(own, dict):
            return {**header.environment, **own, **elsewhere}
    return {**header.environment, **elsewhere}
