"""The verdict over a model as a whole, for the log and for the gate that pytest shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ...measure.starts import START_TIMES
from ...records import ComparisonResult, GateRecord
from .explain_comparison import doubt, percent

MOST_CELLS: Final = 10
"""Cells that the verdict over a model lists."""


def model_gate(
    alias: str, results: Sequence[ComparisonResult], against: str, uid: str,
    cells: Mapping[str, Sequence[ComparisonResult]] | None = None, *, fail_undecided: bool = False,
) -> GateRecord:  # fmt: skip
    """The verdict over a model as a whole.

    :param cells: cell id -> what was found of it alone, for the message.
    :param fail_undecided: whether what has no cell that says so (times of starts) fails where it could not be told.
    """
    worst = [result for result in results if result.verdict == "regressed" and not result.accepted]
    told = [_told(alias, result) for result in worst] or [f"{alias} as a whole against {against}: no regression"]
    for result in worst:
        alone = [
            (each.change or 0.0, f"{cell} {percent(each.change)}")
            for cell, found in (cells or {}).items()
            for each in found
            if each.metric == result.metric and each.change is not None
        ]
        alone.sort(key=lambda each: -abs(each[0]))
        more = f" and {len(alone) - MOST_CELLS} more" if len(alone) > MOST_CELLS else ""
        if alone:
            told.append(f"{result.metric} of its cells: {', '.join(text for _, text in alone[:MOST_CELLS])}{more}")
    undecided = [each for each in results if each.metric in START_TIMES and each.verdict == "inconclusive"]
    told += [f"inconclusive: {doubt(result)}" for result in undecided]
    failed = worst or (fail_undecided and undecided)
    return GateRecord(
        uid=uid, name=f"regression-{alias}", outcome="failed" if failed else "passed", message="; ".join(told), reasons=told, model=alias,
        comparisons=list(results),
    )  # fmt: skip


def _told(alias: str, result: ComparisonResult) -> str:
    limits = "" if result.low is None or result.high is None else f" ({percent(result.low)} to {percent(result.high)})"
    pairs = f" in {result.pairs} fresh pair{'' if result.pairs == 1 else 's'} of processes" if result.pairs else ""
    counted = f"{result.rounds} {'starts' if result.metric in START_TIMES else 'rounds'} a side{pairs}"
    return f"{alias} as a whole against {result.against}: {result.metric} {percent(result.change or 0.0)}{limits}, {counted}"
