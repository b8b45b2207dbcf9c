"""Writes the table of docs/settings.md from the options: ``python tools/settings_doc.py`` (``--check`` only compares)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_llmci.plugin.options import OPTIONS, Option

TARGET = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
BEGIN, END = "<!-- options: python tools/settings_doc.py -->\n", "<!-- end of options -->\n"
MORE = {
    "models": "models.md",
    "prompts": "prompts.md",
    "suite": "benchmark-tasks.md",
    "task_data": "benchmark-tasks.md#files",
    "limit": "benchmark-tasks.md#what-is-a-benchmarks-score",
    "shard": "shards.md",
    "shard_costs": "shards.md#which-shard-measures-what",
    "resume": "shards.md#going-on-with-a-run",
    "max_rounds": "statistics.md",
    "block": "statistics.md",
    "seed": "sampling.md",
    "temperature": "sampling.md",
    "samples": "sampling.md",
    "min_pass_rate": "sampling.md",
    "threads": "models.md#threads-and-cpus",
    "batch": "scoring.md#speed",
    "max_latency": "writing-tests.md#budgets",
    "max_memory": "writing-tests.md#budgets",
    "budget": "writing-tests.md#budgets",
    "load": "load.md#scenarios",
    "objective": "load.md#scenarios",
    "check": "writing-tests.md#checks",
    "versus": "comparing-revisions.md",
    "versus_python": "comparing-revisions.md#environments",
    "detect": "comparing-revisions.md#what-is-gated",
    "inconclusive": "statistics.md",
    "isolation": "measurement.md",
    "memory": "measurement.md#memory",
    "timing": "shards.md#parallel-workers",
    "anchor": "baselines.md#how-it-is-compared",
    "output": "reading-results.md",
    "save_baseline": "baselines.md",
    "update_baseline": "baselines.md",
    "baseline": "baselines.md",
    "baselines": "baselines.md#where-they-are-and-why-one-file-for-each-machine",
    "scores": "leaderboard.md#published-scores-beside-a-run",
    "prices": "costs.md",
    "sink": "other-tools.md",
    "mlflow": "mlflow.md",
    "mlflow_experiment": "mlflow.md",
    "redact": "privacy.md",
    "replay": "replay.md",
}
"""Setting -> page that says more of it."""
MAY_STAND_ALONE = ("maybe", "name", "names")


def render() -> str:
    """The table."""
    lines = ["| option | | more |", "|---|---|---|"]
    for option in OPTIONS:
        page = MORE.get(option.name, "")
        more = f"[{page.partition('.md')[0]}]({page})" if page else ""
        lines.append(f"| {_spelt(option)} | {_cell(option.help)} | {more} |")
    return "\n".join(lines) + "\n"


def _spelt(option: Option) -> str:
    value = f"={option.metavar}" if option.metavar else ""
    if option.kind in MAY_STAND_ALONE:
        value = f"[{value}]"
    first, *others = option.flags
    return _cell(f"`{first}{value}`" + "".join(f", `{other}`" for other in others))


def _cell(text: str) -> str:
    return text.replace("%%", "%").replace("|", "\\|")


def page(old: str) -> str:
    """The page with today's table."""
    head, _, rest = old.partition(BEGIN)
    return head + BEGIN + render() + END + rest.partition(END)[2]


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the page is out of date")
    old = TARGET.read_text("utf-8")
    new = page(old)
    if parser.parse_args().check:
        return 0 if new == old else 1
    TARGET.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
