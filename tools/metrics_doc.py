"""Writes docs/metrics.md from the metric definitions: ``python tools/metrics_doc.py`` (``--check`` only compares)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_llmci.cost.chosen import COST
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.measure.anchor import ANCHOR_METRICS
from pytest_llmci.metrics import STATISTICS, MetricDef

TARGET = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
UNITS = {
    "J": "joules",
    "1/J": "per joule",
    "s": "seconds",
    "B": "bytes",
    "USD": "US dollars",
    "1/s": "per second",
    "%": "per cent",
    "1": "a plain number",
    "cores": "cores",
}
_PER = {
    "round": "a measured round",
    "memory": "a round of the memory pass (`--llmci-memory`)",
    "worker": "a start of the model",
    "task": "a benchmark task",
    "load": "a run of many requests ([load.md](load.md))",
}
DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "none": "neither direction is better"}


def render() -> str:
    """The whole page."""
    groups: dict[str, list[MetricDef]] = {}
    for metric in (*builtin_metrics(), *ANCHOR_METRICS, COST):
        groups.setdefault(metric.group, []).append(metric)
    parts = [
        "# Metrics\n",
        "<!-- Written by tools/metrics_doc.py from the definitions beside the instruments. Do not edit. -->\n",
        "A metric has one name everywhere: attribute of `llm_result`, budget, CSV column, key in `results.json`. Quantities are",
        "SI: seconds, bytes, per second. The log stores times as integer nanoseconds.\n",
        f"Statistics of a metric: {', '.join(f'`{name}`' for name in STATISTICS)}. The quantiles p90, p95 and p99 are shown from 20",
        "rounds on; a budget on one needs no 20 rounds, it counts the rounds that exceed the limit.\n",
        "What could not be measured is missing, with the reason; it is never 0.\n",
    ]
    for group, metrics in groups.items():
        parts.append(f"## {group.capitalize()}\n")
        parts += [_section(metric) for metric in metrics]
    return "\n".join(parts)


def _section(metric: MetricDef) -> str:
    facts = [
        f"- unit: {UNITS.get(metric.unit, metric.unit)}; {DIRECTIONS[metric.direction]}",
        f"- one value {_PER[metric.scope]}",
    ]
    if metric.deterministic:
        facts.append("- equal runs give equal numbers, memory within its resolution: budgets compare directly")
    if metric.excludes:
        facts.append(f"- excludes: {metric.excludes}")
    if metric.source:
        facts.append(f"- source: {metric.source}")
    return f"### {metric.name}\n\n{metric.definition}\n\n" + "\n".join(facts) + "\n"


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the page is out of date")
    text = render()
    if parser.parse_args().check:
        return 0 if TARGET.exists() and TARGET.read_text("utf-8") == text else 1
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
