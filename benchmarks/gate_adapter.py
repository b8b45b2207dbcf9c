"""The gate on samples in JSON form, as an outside evaluator of regression gates hands them over.

``{"paired": bool, "host": str, "sessions": [{"cells": [{"model", "cpu_s": [..], "wall_s": [..], "pair": [..],
"cal_s": [[kernel, ..], ..]}]}]}``; the base holds one session or several, the candidate one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_llmci.stats.compare import GateSettings, GateVerdict
from pytest_llmci.stats.compare import decide as judge
from pytest_llmci.stats.stored import Witnesses, environment_shift

ANSWERS: Final[dict[GateVerdict, int]] = {"pass": 0, "regressed": 1, "inconclusive": 2}
BLOCK: Final = 5
LOOKS: Final = 4
Samples = Mapping[str, Any]  # JSON


def decide(base: Samples, candidate: Samples) -> int:
    """0: pass, 1: regressed, 2: inconclusive, or more rounds wanted where the base comes in blocks."""
    if not base["paired"]:
        return _against_stored(base, candidate)
    cells = candidate["sessions"][0]["cells"]
    pairs = cells[0]["pair"]
    in_blocks = set(Counter(pairs).values()) == {BLOCK} and len(pairs) <= BLOCK * LOOKS
    look, looks = (len(set(pairs)) - 1, LOOKS) if in_blocks else (0, 1)
    found = judge(
        _times(base["sessions"][0]["cells"]),
        _times(cells),
        GateSettings(look=look, looks=looks, last=look == looks - 1),
        models=[cell["model"] for cell in cells],
        pairs=pairs,
    )
    return ANSWERS[found.verdict]


def _against_stored(base: Samples, candidate: Samples) -> int:
    if base["host"] != candidate["host"]:
        return ANSWERS["inconclusive"]
    cells = candidate["sessions"][0]["cells"]
    sessions = [_times(session["cells"]) for session in base["sessions"]]
    shift = environment_shift(_witnesses(base), _witnesses(candidate))
    settings = GateSettings(mode="history", environment_shift=shift)
    return ANSWERS[judge(sessions, _times(cells), settings, models=[cell["model"] for cell in cells]).verdict]


def _times(cells: Sequence[Samples]) -> list[list[float]]:
    return [cell["cpu_s"] for cell in cells]


def _witnesses(samples: Samples) -> Witnesses:
    cells = [cell for session in samples["sessions"] for cell in session["cells"]]
    return Witnesses(
        wall_s=[time for cell in cells for time in cell["wall_s"]],
        cpu_s=[time for cell in cells for time in cell["cpu_s"]],
        kernel_s=[kernels[0] for cell in cells for kernels in cell["cal_s"]],
    )
