"""What counts as one value where two sides are measured alternately: a round, or a whole block.

What a server that limits rates does to rounds of one block, it does to all of them: then a block is one value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ...records import ModelSpec, RoundRecord, WorkerRecord

_MAY_LIMIT_RATES: Final = ("openai",)
"""Backends behind which a server may say that it limits rates."""


def repeated_requests(record: RoundRecord) -> int:
    """Requests of a round that the server put off: answered at a further attempt, or refused for their number under load."""
    refused = sum(run.failures.count("server_busy") for run in record.runs)
    return (record.completion.retries or 0) + refused


def planned_unit(sides: Sequence[ModelSpec]) -> Literal["round", "block", "auto"]:
    """What counts as one value, as far as is known before anything runs; ``auto``: the server's answers decide."""
    asked = {side.options.get("unit", "auto") for side in sides}
    if "block" in asked:
        return "block"
    return "auto" if "round" not in asked and any(side.backend in _MAY_LIMIT_RATES for side in sides) else "round"


def why_by_block(sides: Sequence[WorkerRecord], repeated: int) -> str:
    """Why the block is the unit of the test; empty where the round is.

    :param repeated: requests that were put off so far.
    """
    asked = {side.spec.options.get("unit", "auto") for side in sides}
    if "block" in asked:
        return "+unit=block says so"
    if "round" in asked:
        return ""
    if repeated:
        return f"{repeated} request{' was' if repeated == 1 else 's were'} put off by the server (429, 5xx or no connection)"
    told = [str(side.info["limits_rate"]) for side in sides if side.info.get("limits_rate")]
    return f"the server limits rates ({told[0]})" if told else ""
