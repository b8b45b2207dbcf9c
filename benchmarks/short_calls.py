"""What the time of a call of microseconds differs by between processes of one program.

    python -m benchmarks.short_calls [--processes 25] [--rounds 200] [--check]

Each session measures ``echo`` (no delay, answers of 10, 30, 100 and 200 tokens) in a process of its own; the lengths in turn. A
process stands by the medians over its rounds. Printed for each length: the median over processes, and their standard deviation in
microseconds and per cent beside what the gate takes them to differ by: 1 % and a microsecond, together.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.pairs import Targets, in_turn, machine_line
from benchmarks.process_cost import RunFailedError, plugin_session
from pytest_llmci.stats.compare import PROCESS_TIME_SD_S
from pytest_llmci.stats.interleaved import PROCESS_SD

LENGTHS = (10, 30, 100, 200)
METRICS = ("net_time", "cpu_time")
MOST_OVER_ALLOWED = 1.5
"""A standard deviation of 25 values is itself up to 1.3 times the true one in 95 % of cases."""


def session(folder: Path, tokens: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds of one process, in seconds."""
    results = folder / "llmci-results" / "latest" / "results.csv"
    arguments = [
        *("--llm-prompts=prompts.txt", "--llmci-suite=inference", f"--llmci-rounds={rounds}"),
        *(f"--llm-models=echo=echo+tokens={tokens}", f"--llmci-max-new-tokens={tokens}"),
    ]
    plugin_session(folder, arguments, results)
    with results.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {metric: statistics.median(float(row[metric]) for row in rows if row[metric]) for metric in METRICS}


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=25, help="of each length (default: 25)")
    parser.add_argument("--rounds", type=int, default=200, help="in each process (default: 200)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-short-") as name:
            folder = Path(name)
            (folder / "prompts.txt").write_text("Name a colour.\n", encoding="utf-8")
            sides = {str(tokens): partial(session, folder, tokens, arguments.rounds) for tokens in LENGTHS}
            found = in_turn(sides, arguments.processes)
    except RunFailedError as error:
        print(f"short_calls: {error}", file=sys.stderr)
        return 2
    targets, over = Targets(), dict[str, float]()
    print(f"{arguments.processes} processes of each length, {arguments.rounds} rounds in each; {machine_line()}")
    print("tokens  time         median us   sd us    sd %   allowed %")
    for tokens, processes in found.items():
        for metric in METRICS:
            values = [process[metric] for process in processes]
            middle, sd = statistics.median(values), statistics.stdev(values)
            allowed = math.hypot(PROCESS_SD, PROCESS_TIME_SD_S / middle)
            shown = f"{1e6 * middle:>11.2f} {1e6 * sd:>7.2f} {100 * sd / middle:>7.1f} {100 * allowed:>11.1f}"
            print(f"{tokens:>6}  {metric:<10} {shown}")
            over[f"{metric} of {tokens} tokens: over allowed"] = sd / middle / allowed
    for what, ratio in over.items():
        targets.judge(what, ratio, MOST_OVER_ALLOWED, "x")
    return targets.status(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
