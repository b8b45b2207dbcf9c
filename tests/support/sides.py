"""What two sides of a comparison measured, made up."""

from __future__ import annotations

import random
from typing import Any

from pytest_llmci.engine.comparisons.cell_samples import CellSamples, Sides
from pytest_llmci.engine.comparisons.comparison import compare_model
from pytest_llmci.engine.comparisons.rules import Rules
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import ComparisonResult

METRICS = {metric.name: metric for metric in builtin_metrics()}
RULES = Rules(against="main", alpha=0.01)
PAIRS = tuple(number // 5 for number in range(20))


def side(seed: int, factor: float = 1.0, **changes: Any) -> CellSamples:
    rng = random.Random(seed)
    noise = [rng.gauss(1, 0.005) for _ in PAIRS]
    values = {
        "latency": [2.0 * factor * each for each in noise],
        "net_time": [1.9 * factor * each for each in noise],
        "cpu_time": [1.8 * factor * each for each in noise],
        "output_tokens": [50.0] * 20,
        "peak_rss": [1e9] * 20,
    }
    values.update(changes.pop("values", {}))
    return CellSamples(**{"values": values, "pairs": PAIRS, "memory_methods": frozenset({"hwm"}), **changes})


def found(candidate: CellSamples, base: CellSamples | None = None, rules: Rules = RULES) -> dict[str, ComparisonResult]:
    comparison = compare_model({"cell": Sides(base=base or side(1), candidate=candidate)}, rules, METRICS)
    return {result.metric: result for result in comparison.cells["cell"]}
