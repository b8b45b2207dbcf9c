"""What the plots of a run cost: five models x ten prompts x 20 rounds, and 1,472 models x ten prompts.

    python -m benchmarks.report_plots [--rounds 3] [--models 1472] [--samples 5] [--tokens 50] [--check]

Two run folders are generated, in which each cell is one block with the numbers, reasons and token times that a block of the suite
holds. Then `llmci report RUN --plots` draws each of them in a process of its own, its files are counted and the largest SVG is
named, and CPU time, wall time and peak memory of that process are taken: starting Python, reading the log and importing
matplotlib are in it. Run it from the root of the repository, with the dependencies installed, on a Linux or macOS machine with
little else to do. With --check the exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.compare_runs import records, write_run
from benchmarks.pairs import judged
from benchmarks.process_cost import (
    RunFailedError,
    Side,
    clean_environment,
    median_cpu_s,
    median_peak_bytes,
    run,
)
from pytest_llmci.plots import PLOTS

ROOT = Path(__file__).resolve().parents[1]
OF_LOAD = "load-over-rate"
"""A plot that these runs have none of."""
USUAL_CPU_S = 3.0
MANY_CPU_S = 30.0
PEAK_LIMIT_MB = 1024.0
USUAL_SVG_KB = 60.0


def measure(folder: Path, rounds: int, *, usual: bool) -> bool:
    """Draw a run several times; whether the targets are met.

    :raises RunFailedError: if not every figure is there.
    """
    side = Side(
        name="llmci report --plots", command=[sys.executable, "-m", "pytest_llmci.cli.main", "report", str(folder), "--plots"],
        cwd=folder, environment=clean_environment(PYTHONPATH=str(ROOT)), expected="wrote ",
    )  # fmt: skip
    costs, walls = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        costs.append(run(side, folder.parent / "output.txt"))
        walls.append(time.perf_counter() - begin)
    files = sorted((folder / "plots").iterdir())
    expected = 2 * sum(entry.name != OF_LOAD for entry in PLOTS)
    if len(files) != expected:
        raise RunFailedError(f"{folder}: {len(files)} files instead of {expected}")
    largest = max((file for file in files if file.suffix == ".svg"), key=lambda file: file.stat().st_size)
    print(f"  wall time {statistics.median(walls):.2f} s; the largest SVG is {largest.name}")
    rows = [
        ("CPU time", median_cpu_s(costs), USUAL_CPU_S if usual else MANY_CPU_S, "s"),
        ("peak memory", median_peak_bytes(costs) / 1e6, PEAK_LIMIT_MB, "MB"),
    ]
    if usual:
        rows.append(("largest SVG", largest.stat().st_size / 1e3, USUAL_SVG_KB, "kB"))
    met = True
    for what, value, limit, unit in rows:
        line, is_met = judged(what, value, limit, unit)
        print(line)
        met = met and is_met
    return met


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (default: 3)")
    parser.add_argument("--models", type=int, default=1472, help="models of the large run (default: 1472)")
    parser.add_argument("--samples", type=int, default=5, help="rounds of each of its cells (default: 5)")
    parser.add_argument("--tokens", type=int, default=50, help="tokens of an answer (default: 50)")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    options = parser.parse_args()
    met = True
    for models, samples in ((5, 20), (options.models, options.samples)):
        with tempfile.TemporaryDirectory(prefix="llmci-plots-") as place:
            folder = Path(place) / "2026-run"
            lines = records(models, 10, samples, options.tokens, seed=1, slower="")
            size = write_run(folder, lines, folder.name)
            print(
                f"{models:,} models x 10 prompts x {samples} rounds x {options.tokens} tokens: a log of {size / 1e6:.0f} MB"
            )
            try:
                met = measure(folder, options.rounds, usual=models == 5) and met
            except RunFailedError as error:
                print(error)
                return 2
    return 1 if options.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
