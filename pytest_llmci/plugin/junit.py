"""The numbers of a cell, and of a gate, as properties of its test case in the file of ``--junitxml``.

They go through ``item.user_properties``, as those of pytest's own ``record_property`` do, and so come home from parallel workers.
Texts of prompts and answers are not among them. What was not measured is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pytest

from ..metrics import MetricDef
from ..records import ComparisonResult, GateRecord, Missing, VerdictRecord
from ..stats.summary import summarise

if TYPE_CHECKING:
    from ..engine.schedule import CellMeasurement
    from ..tasks.counting import Rate

Property = tuple[str, object]
OURS: pytest.StashKey[list[Property]] = pytest.StashKey()
"""What was added to the item in this attempt."""


def is_wanted(config: pytest.Config) -> bool:
    """Whether anybody will read them; parallel workers have the controller's options."""
    return bool(getattr(config.option, "xmlpath", None))


def forget(item: pytest.Item) -> None:
    """Take away what an earlier attempt at the test added, as pytest keeps it: only the last attempt counts."""
    there = item.stash.get(OURS, None)
    if there is None:
        return
    for added in there:
        if added in item.user_properties:
            item.user_properties.remove(added)
    there.clear()


def add(
    item: pytest.Item, measurement: CellMeasurement, verdict: VerdictRecord, metrics: Mapping[str, MetricDef]
) -> None:
    """Add those of a cell that was judged."""
    found = [*_of_cell(measurement, verdict, metrics), *_of_comparisons(verdict.comparisons)]
    item.stash.setdefault(OURS, []).extend(found)
    item.user_properties.extend(found)


def _of_cell(
    measurement: CellMeasurement, verdict: VerdictRecord, metrics: Mapping[str, MetricDef]
) -> Iterable[Property]:
    yield "llmci.model", verdict.model
    yield "llmci.verdict", verdict.verdict
    yield "llmci.rounds", verdict.rounds
    if verdict.provenance != "live":
        yield "llmci.provenance", verdict.provenance
    if verdict.samples is not None:
        yield "llmci.samples.verdict", verdict.samples.verdict
        yield "llmci.samples.passed", verdict.samples.passed
        yield "llmci.samples.n", verdict.samples.n
        yield "llmci.samples.min_pass_rate", verdict.samples.min_pass_rate
    if measurement.error is not None:  # what it did before it failed is no result
        return
    for name, metric in metrics.items():
        values = measurement.values(metric)
        if isinstance(values, Missing) or not values:
            continue
        if metric.scope == "worker":
            yield f"llmci.{name}", values[0]
        else:
            yield f"llmci.{name}.median", summarise(values).median


def add_task(item: pytest.Item, verdict: VerdictRecord, rates: Mapping[str, Rate]) -> None:
    """Put the rates of a benchmark task on the test case."""
    found: list[Property] = [
        ("llmci.model", verdict.model),
        ("llmci.verdict", verdict.verdict),
        *((f"llmci.{metric}", rate.value) for metric, rate in rates.items()),
        *((f"llmci.{metric}.questions", rate.n) for metric, rate in rates.items()),
        *_of_comparisons(verdict.comparisons),
    ]
    item.stash.setdefault(OURS, []).extend(found)
    item.user_properties.extend(found)


def of_gate(gate: GateRecord) -> list[Property]:
    """Those of a gate."""
    return [
        *([("llmci.model", gate.model)] if gate.model else []),
        ("llmci.outcome", gate.outcome),
        *_of_comparisons(gate.comparisons),
    ]


def _of_comparisons(results: Iterable[ComparisonResult]) -> Iterable[Property]:
    """Relative changes: 0.05 is 5 % more than the reference."""
    for result in results:
        yield f"llmci.{result.metric}.comparison", result.verdict
        for name, change in (("change", result.change), ("change.low", result.low), ("change.high", result.high)):
            if change is not None:
                yield f"llmci.{result.metric}.{name}", change
