"""Times of a process's start on two sides: one number a start, so that starts are what is counted, not rounds.

They belong to a model as a whole. Judged are those that are named. Side by side each fresh pair of processes is one
observation (:mod:`~pytest_llmci.stats.starts`); stored ones are compared as stored times are, as noisy between sessions as
wall times. Fewer than three starts a side decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from ...measure.starts import START_TIMES
from ...metrics import MetricDef
from ...records import ComparisonResult
from ...stats.compare import GateSettings, decide
from ...stats.starts import decide_starts, too_few_starts
from .comparison import gated_starts
from .rules import DETECT, Rules, result_of

Starts = Mapping[str, Sequence[float]]
"""Metric -> SI, one number a start; interleaved, those of one pair of processes stand at the same place on both sides."""


def compare_starts(
    base: Starts, candidate: Starts, rules: Rules, metrics: Mapping[str, MetricDef], *, tests: int
) -> list[ComparisonResult]:
    """Judge the times of starts that are gated.

    :param tests: gated times of the model, these included: they share its alpha.
    """
    return [
        _compared(base.get(name, ()), candidate.get(name, ()), rules, metrics[name], tests)
        for name in gated_starts(rules)
        if name in metrics
    ]


def starts_shown(base: Starts, candidate: Starts) -> dict[str, tuple[float, float]]:
    """Metric -> the median of each side, where both have any."""
    return {
        name: (median(base[name]), median(candidate[name]))
        for name in START_TIMES
        if base.get(name) and candidate.get(name)
    }


def _compared(
    base: Sequence[float], candidate: Sequence[float], rules: Rules, metric: MetricDef, tests: int
) -> ComparisonResult:
    detect = rules.detect.get(metric.name, rules.detect.get("", DETECT))
    found = ComparisonResult(
        metric=metric.name, mode="interleaved" if rules.mode == "interleaved" else "saved", verdict="inconclusive",
        against=rules.against, base=median(base) if base else None, candidate=median(candidate) if candidate else None,
        change=median(candidate) / median(base) - 1 if base and candidate and median(base) else None, detect=detect,
        rounds=min(len(base), len(candidate)), pairs=len(candidate) if rules.mode == "interleaved" else 0,
    )  # fmt: skip
    if rules.why_no_times:
        return replace(found, verdict="not comparable", reason=rules.why_no_times)
    if not base or not candidate or min(*base, *candidate) <= 0:
        missing = "the reference" if not base else "the candidate" if not candidate else ""
        why = f"missing on the side of {missing}" if missing else "a start was too short to be measured"
        return replace(found, reason=why)
    settings = GateSettings(
        mode="saved", detect=detect, alpha=rules.alpha / max(tests, 1), higher_is_better=metric.direction == "higher",
        metric="wall", environment_shift=rules.shifts.get("wall", rules.environment_shift),
    )  # fmt: skip
    if rules.mode == "interleaved":
        effect = decide_starts(base, candidate, settings, name=metric.name)
    else:
        effect = decide([base], [candidate], settings, names=[metric.name]).cells[0]
        effect = replace(effect, note=effect.note and too_few_starts(found.rounds))
    judged = result_of(effect, rules, metric.name, detect)
    return replace(judged, mode=found.mode, base=found.base, candidate=found.candidate)
