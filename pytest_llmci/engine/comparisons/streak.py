"""How many runs in a row could not decide: once is bad luck, three times is a set-up that cannot see what is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ...store.runfolder import list_runs
from ..reports.explain import UNDECIDED
from ..reports.report import SessionReport

TOO_MANY: Final = 3
MOST_READ: Final = 20
"""Earlier runs that are looked at: one with other models may lie between."""


def runs_undecided(report: SessionReport, output: Path, *, most: int = TOO_MANY) -> int:
    """This run and those right before it in which a comparison of the same models stayed undecided.

    :param output: folder of the run folders.
    :param most: where counting stops.
    """
    if not _is_undecided([result.verdict for cell in report.cells for result in cell.comparisons]):
        return 0
    models = {model.alias for model in report.models}
    count = 1
    for verdicts in _before(report, output, models):
        if count >= most or not _is_undecided(verdicts):
            break
        count += 1
    return count


def _before(report: SessionReport, output: Path, models: set[str]) -> list[list[str]]:
    """What earlier runs found of these models, the newest first; runs of other models, or without a comparison, left out.

    A folder's name tells the second alone, in which several short runs may have begun: what the run says of itself decides.
    """
    names = sorted((run for run in list_runs(output) if run.name != report.folder.name), reverse=True)
    found = [one for run in names[:MOST_READ] if (one := _verdicts(run, models)) is not None]
    return [verdicts for started, verdicts in sorted(found, reverse=True) if started < report.header.started]


def _is_undecided(verdicts: Sequence[str]) -> bool:
    return any(verdict in UNDECIDED for verdict in verdicts)


def _verdicts(run: Path, models: set[str]) -> tuple[str, list[str]] | None:
    """When a run began and what its comparisons found; None where it compared none of these models, or cannot be read."""
    try:
        data = json.loads((run / "results.json").read_text("utf-8"))
        started = str(data["run"]["started"])
        cells = [cell for cell in data["cells"] if cell["model"] in models]
        found = [str(result["verdict"]) for cell in cells for result in cell.get("comparisons", ())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (started, found) if found else None
