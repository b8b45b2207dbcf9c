"""How often the gate on load times errs, on load times of unchanged models that are measured here.

    python -m benchmarks.load_gate [--models smollm2 tiny] [--pairs 40] [--sessions 4000] [--keep FILE]

Pairs of fresh processes load the same model, one after the other, as the two sides of a comparison do. A session is four
or eight of these pairs drawn at random, each with its sides swapped by lot, as which side loads first is drawn by lot; it is judged as
a session judges it, with the candidate's times as they are or made longer. Printed are the per
cent of sessions that fail (95 % interval by Wilson's method) and the smallest change that the median session could have seen.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.pairs import machine_line
from benchmarks.workers import worker_starter
from pytest_llmci.engine.comparisons.rules import Rules
from pytest_llmci.engine.comparisons.starts import compare_starts
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.measure.starts import START_TIMES
from pytest_llmci.stats.looks import SESSION_ALPHA
from pytest_llmci.stats.rates import wilson_limits

PAIRS = (4, 8)
"""Of a session with the default settings, and of one that may take twice as many rounds."""
DETECT = 0.20
SLOWER = (0.0, 0.05, 0.10, 0.20, 0.40, 1.0)
Times = Mapping[str, float]


def measure(model: str, pairs: int, folder: Path) -> list[tuple[Times, Times]]:
    """Load times in seconds of fresh processes, two in a row."""
    with worker_starter(folder) as workers:

        def once() -> Times:
            values = workers.load_values(model)
            return {name: values[name] / 1e9 for name in START_TIMES}

        return [(once(), once()) for _ in range(pairs)]


def sessions(
    found: Sequence[tuple[Times, Times]], metric: str, slower: float, size: int, count: int
) -> tuple[int, float]:
    """How many of so many sessions fail, and the median of what they could have seen."""
    rng = random.Random(f"{metric} {slower} {size}")
    rules = Rules(against="itself", alpha=SESSION_ALPHA, detect={metric: DETECT})
    metrics = {each.name: each for each in builtin_metrics()}
    failed, visible = 0, []
    for _ in range(count):
        chosen = [rng.sample(pair, 2) for pair in rng.sample(list(found), size)]
        base = {metric: [one[metric] for one, _ in chosen]}
        candidate = {metric: [other[metric] * (1 + slower) for _, other in chosen]}
        (result,) = compare_starts(base, candidate, rules, metrics, tests=3)
        failed += result.verdict == "regressed"
        visible.append(result.visible if result.visible is not None else math.inf)
    return failed, statistics.median(visible)


def show(model: str, found: Sequence[tuple[Times, Times]], count: int) -> None:
    """The table of one model."""
    print(f"{model}: {len(found)} pairs of starts, detect {DETECT:.0%}, {count} sessions a figure")
    for metric in START_TIMES:
        spread = statistics.stdev(math.log(one[metric] / other[metric]) for one, other in found)
        usual = statistics.median(one[metric] for pair in found for one in pair)
        print(f"  {metric}: {usual:.3f} s, SD of a pair {100 * spread:.1f} %")
        for size in PAIRS:
            cells, seen = [], math.inf
            for slower in SLOWER:
                failed, visible = sessions(found, metric, slower, size, count)
                low, high = wilson_limits(failed / count, count, 0.025)
                limits = "" if slower else f" [{100 * low:.1f}, {100 * high:.1f}]"
                seen = seen if slower else visible
                cells.append(f"{slower:+.0%}: {100 * failed / count:.1f}{limits}")
            print(f"    {size} pairs see {100 * seen:.0f} %; failed, per cent: {', '.join(cells)}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["smollm2", "tiny"], help="models (default: smollm2 tiny)")
    parser.add_argument("--pairs", type=int, default=40, help="pairs of starts to measure (default: 40)")
    parser.add_argument("--sessions", type=int, default=4000, help="sessions drawn from them (default: 4000)")
    parser.add_argument("--keep", type=Path, help="file for the load times, read again if it is there")
    arguments = parser.parse_args()
    print(machine_line())
    known = json.loads(arguments.keep.read_text()) if arguments.keep and arguments.keep.exists() else {}
    with tempfile.TemporaryDirectory(prefix="llmci-load-") as name:
        for model in arguments.models:
            if model not in known:
                known[model] = measure(model, arguments.pairs, Path(name))
                if arguments.keep:
                    arguments.keep.write_text(json.dumps(known))
            show(model, known[model], arguments.sessions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
