"""How many runs in a row could not decide: once is bad luck, three times is a set-up that cannot see what is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..store.runfolder import list_runs
from .explain import UNDECIDED
from .report import SessionReport

TOO_MANY: Final = 3


def runs_undecided(report: SessionReport, output: Path, *, most: int = TOO_MANY) -> int:
    """This run and those right before it in which a comparison of the same models stayed undecided.

    :param output: folder of the run folders.
    :param most: where counting stops.
    """
    if not _is_undecided([result.verdict for cell in report.cells for result in cell.comparisons]):
        return 0
    models = {model.alias for model in report.models}
    count = 1
    before = [run for run in list_runs(output) if run.name < report.folder.name]
    for run in sorted(before, key=lambda run: run.name, reverse=True):
        if count >= most:
            break
        found = _verdicts(run, models)
        if found is None:  # another job's run, of other models or without a comparison
            continue
        if not _is_undecided(found):
            break
        count += 1
    return count


def _is_undecided(verdicts: Sequence[str]) -> bool:
    return any(verdict in UNDECIDED for verdict in verdicts)


def _verdicts(run: Path, models: set[str]) -> list[str] | None:
    """What the comparisons of a run found; None where it compared none of these models, or cannot be read."""
    try:
        data = json.loads((run / "results.json").read_text("utf-8"))
        cells = [cell for cell in data["cells"] if cell["model"] in models]
        found = [str(result["verdict"]) for cell in cells for result in cell.get("comparisons", ())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found or None
