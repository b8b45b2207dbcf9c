"""Whether a model's figures depend on the model before it: B after a larger A in one session, against B alone.

    python -m benchmarks.models_in_a_row [--rounds 20] [--check]

A is a callable that holds half a gigabyte on the heap, B is `tiny`. Whole pytest sessions are run in turn: A and B, B
alone, and B alone once more (A/A control). Compared are the medians over B's rounds of peak memory, latency and CPU time,
session by session. Needs torch and transformers.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.pairs import Targets, in_turn, machine_line, paired_ratio
from benchmarks.process_cost import RunFailedError, plugin_session

ROOT = Path(__file__).resolve().parents[1]
LARGE, SMALL = "large=py:benchmarks.workers:Large", "small=tiny"
ALONE, AGAIN, AFTER = "B alone", "B alone again", "B after A"
METRICS = ("peak_rss", "latency", "cpu_time")
PROMPTS = "- {id: river, prompt: Name a river.}\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Medians over the rounds of a model."""

    peak_rss: float
    latency: float
    cpu_time: float


def median_of(rounds: Sequence[dict[str, float]], metric: str) -> float:
    """Median of one metric."""
    return statistics.median(values[metric] for values in rounds)


def read_rounds(results: Path, model: str) -> list[dict[str, float]]:
    """The compared values of each measured round of a model, as results.csv has them."""
    with results.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["model"] == model]
    return [{metric: float(row[metric]) for metric in METRICS} for row in rows]


def session(folder: Path, models: str, rounds: int) -> tuple[Figures, float]:
    """Run one session: B's figures, and the largest peak of any other model, in bytes.

    :raises RunFailedError: if it did not measure.
    """
    results = folder / "llmci-results" / "latest" / "results.csv"
    arguments = [
        *(f"--llm-models={models}", "--llmci-suite=inference", "--llm-prompts=prompts.yaml"),
        *(f"--llmci-rounds={rounds}", "--llmci-max-new-tokens=64", "--llmci-threads=1"),
    ]
    plugin_session(folder, arguments, results)
    small = read_rounds(results, "small")
    others = [values["peak_rss"] for values in read_rounds(results, "large")]
    return Figures(**{metric: median_of(small, metric) for metric in METRICS}), max(others, default=0.0)


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="sessions of each kind (default: 20)")
    parser.add_argument("--inferences", type=int, default=15, help="measured rounds in a session (default: 15)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-row-") as name:
            folder = Path(name)
            (folder / "prompts.yaml").write_text(PROMPTS, encoding="utf-8")
            run = partial(session, folder, rounds=arguments.inferences)
            found = in_turn(
                {ALONE: lambda: run(SMALL), AFTER: lambda: run(f"{LARGE},{SMALL}"), AGAIN: lambda: run(SMALL)},
                arguments.rounds,
            )
    except RunFailedError as error:
        print(f"models_in_a_row: {error}", file=sys.stderr)
        return 2
    targets = Targets()
    peak_a = statistics.median(peak for _, peak in found[AFTER])
    print(f"{arguments.rounds} sessions of each kind; A peaks at {peak_a / 2**20:.0f} MiB; {machine_line()}")
    for metric in METRICS:
        of_side = {side: [getattr(figures, metric) for figures, _ in pairs] for side, pairs in found.items()}
        after, control = (paired_ratio(of_side[side], of_side[ALONE]) for side in (AFTER, AGAIN))
        print(f"{metric}: B alone {statistics.median(of_side[ALONE]):.6g}; after A {after}; A/A {control}")
        targets.judge_ratio(f"{metric} of B after A, off by", after, control, 1.0)
    return targets.status(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
