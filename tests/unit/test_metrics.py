from __future__ import annotations

import re

import pytest

from pytest_llmci.measure import builtin_metrics
from pytest_llmci.metrics import STATISTICS, MetricDef
from pytest_llmci.stats.summary import Summary, summarise


def test_nanoseconds_become_seconds_and_nothing_else_changes() -> None:
    stored = MetricDef(name="latency", unit="s", direction="lower", definition="", stored="ns")
    plain = MetricDef(name="peak_rss", unit="B", direction="lower", definition="")
    assert stored.to_si(1_500_000_000) == 1.5
    assert plain.to_si(1_500_000_000) == 1_500_000_000


def test_the_heading_is_the_label_or_the_name_in_words() -> None:
    metric = MetricDef(name="peak_rss", unit="B", direction="lower", definition="")
    assert metric.heading == "peak rss"
    assert MetricDef(name="ttft", unit="s", direction="lower", definition="", label="1st token").heading == "1st token"


def test_every_statistic_that_may_be_named_exists() -> None:
    summary: Summary = summarise([1.0, 2.0])
    for name in STATISTICS:
        getattr(summary, name)


@pytest.mark.parametrize("metric", builtin_metrics(), ids=lambda metric: metric.name)
def test_every_definition_is_whole(metric: MetricDef) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.definition.endswith(".")
    assert metric.source
    assert metric.group != "other"
    assert metric.stored == "si" or metric.unit == "s"


def test_names_are_unique() -> None:
    names = [metric.name for metric in builtin_metrics()]
    assert len(names) == len(set(names))
