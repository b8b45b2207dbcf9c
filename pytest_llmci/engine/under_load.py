"""Cells under load: what is compared of them, and their requests in the log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from ..load.scenario import parse_scenario
from ..measure.under_load import LOAD_METRIC_NAMES
from ..records import LoadPlan, LoadRecord, RoundRecord, RoundsRecord, Scenario

GATED_UNDER_LOAD: Final = ("request_latency_p50", "request_throughput", "max_rate")
"""All that :func:`judged_by` gives."""


def load_records(
    block: RoundsRecord, rounds: Sequence[RoundRecord], new_uid: Callable[[], str]
) -> Iterator[LoadRecord]:
    """The lines of a block's requests: one a run, or a step of a sweep."""
    for number, record in enumerate(rounds):
        for run in record.runs:
            yield LoadRecord(
                uid=new_uid(), block=block.uid, round=block.first_round + number, cell=block.cell, model=block.model, test=block.test,
                attempt=block.attempt, origin=block.origin, scenario=block.load, run=run,
            )  # fmt: skip


def judged_by(scenario: Scenario) -> tuple[str, ...]:
    """The metrics of a scenario that a comparison gates: its own one in MLPerf's sense, and what its users wait for.

    In a closed loop and offline, latency and throughput say the same (Little's law), so the throughput alone decides.
    """
    if scenario.highest_rate is not None:
        return ("max_rate",)
    if scenario.kind == "server":
        return ("request_latency_p50",)
    return ("request_latency_p50",) if scenario.kind == "single-stream" else ("request_throughput",)


def judged_by_text(load: str) -> tuple[str, ...]:
    """The same of a scenario as the log has it; empty for an empty text."""
    return judged_by(parse_scenario(load, "log")) if load else ()


def judged_of(plan: LoadPlan | None, detect: Collection[str]) -> tuple[str, ...]:
    """What decides of a planned cell; empty where it is not under load.

    :param detect: metrics that ``--llmci-detect`` names: those of load are judged as well.
    """
    if plan is None:
        return ()
    return tuple(dict.fromkeys([*judged_by(plan.scenario), *(name for name in detect if name in LOAD_METRIC_NAMES)]))
