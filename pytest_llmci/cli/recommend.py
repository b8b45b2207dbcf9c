"""``llmci recommend``: which model of a run to take under the limits given, and why each other one lost."""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..cost.chosen import choose_prices
from ..engine.comparisons.explain_tradeoffs import recommendation_json, recommendation_lines
from ..engine.comparisons.tradeoffs import CRITERIA, Limits, recommend, standings
from ..engine.reports.report_builder import build_report
from ..errors import ConfigError
from ..settings import Sourced
from ..store.runfolder import resolve_run
from ..units import Unit, parse_quantity
from . import Command
from .main import EXIT_FAILED, printable

WIDTH = 100


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run_text",
        metavar="RUN",
        nargs="?",
        default="latest",
        help="run folder, latest, latest~1, or the beginning of a run's id (default: %(default)s)",
    )
    parser.add_argument(
        "--min-score",
        metavar="35",
        default="",
        help="lowest benchmark score, in per cent; published ones count where none was measured",
    )
    parser.add_argument(
        "--max-latency", metavar="3s", default="", help="highest p95 of latency, over all rounds of all prompts"
    )
    parser.add_argument("--max-memory", metavar="4GiB", default="", help="highest peak of resident memory")
    parser.add_argument("--max-cost", metavar="0.002", default="", help="highest mean cost of a request, in USD")
    parser.add_argument(
        "--prices",
        metavar="NAME|FILE[#NAME]",
        default="",
        help="price of all models, in place of the session's: of the packaged table, or of a TOML or CSV file",
    )
    parser.add_argument(
        "--prefer",
        choices=CRITERIA,
        help="what decides first within the limits (default: the score where any is known, else the cost, else latency)",
    )
    parser.add_argument("--json", action="store_true", help="as JSON, with every model")


def _run(options: Namespace) -> int:
    limits = Limits(
        min_score=_limit(options.min_score, "%", "--min-score"),
        max_latency_s=_limit(options.max_latency, "s", "--max-latency"),
        max_memory_bytes=_limit(options.max_memory, "B", "--max-memory"),
        max_cost_usd=_limit(options.max_cost, "USD", "--max-cost"),
    )
    price = (
        choose_prices([Sourced(text=options.prices, origin="--prices")], lambda _: Path()).prices[0]
        if options.prices
        else None
    )
    found = standings(build_report(resolve_run(options.run_text, options.output)), price)
    chosen = recommend(found, limits, options.prefer)
    if options.json:
        print(json.dumps(recommendation_json(chosen, found), indent=2))
    else:
        for line in recommendation_lines(chosen, found, WIDTH):
            print(printable(line))
    return 0 if chosen.chosen is not None else EXIT_FAILED


def _limit(text: str, unit: Unit, where: str) -> float | None:
    if not text:
        return None
    value = parse_quantity(text, unit, where)
    if not math.isfinite(value) or value < 0:
        raise ConfigError(f"{where}: '{text}' must not be below zero.")
    return value


COMMAND = Command(configure=_configure, run=_run)
