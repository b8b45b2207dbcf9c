"""How often the gate errs, and what it finds, where stored times are divided by those of an anchor: on recorded traces.

    python -m benchmarks.anchor_traces FILE.csv.gz --cells med20/p16 med20/p160 --anchor tiny/p160 [--rounds 10] [--net]

A trace has a line for each answer: ``session, arm (one of two processes of a session), cell, round, wall_s, cpu_s`` and
``rqwait_s`` (time spent waiting for a CPU). Each session is compared with each other one, as a baseline of one session with a
later run, once as they are (mode saved) and once divided, round by round, by the anchor's times in the same process (mode
anchored); the later run's times are made longer. Printed is the per cent of comparisons that fail, with 95 % limits by Wilson's
method where nothing changed (comparisons share sessions, so that these are too narrow), and the median of what could be seen.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from pytest_llmci.stats.compare import GateSettings, decide
from pytest_llmci.stats.rates import wilson_limits
from pytest_llmci.stats.stored import Witnesses, environment_shift

SLOWER: Final = (0.0, 0.05, 0.10, 0.20, 0.30)
Mode = Literal["saved", "anchored"]
Answers = Mapping[str, list[float]]
"""Column -> a number each round."""
Session = dict[tuple[str, str], Answers]
"""(arm, cell) -> its answers."""


def read(path: Path) -> dict[str, Session]:
    """The sessions of a trace."""
    rows: dict[str, dict[tuple[str, str], list[dict[str, str]]]] = {}
    with gzip.open(path, "rt", encoding="ascii", newline="") as stream:
        for row in csv.DictReader(stream):
            rows.setdefault(row["session"], {}).setdefault((row["arm"], row["cell"]), []).append(row)
    found: dict[str, Session] = {}
    for name, cells in rows.items():
        own = found[name] = {}
        for key, answers in cells.items():
            answers.sort(key=lambda row: int(row["round"]))
            columns = {column: [float(row[column]) for row in answers] for column in ("wall_s", "cpu_s", "rqwait_s")}
            waits = zip(columns["wall_s"], columns["rqwait_s"], strict=True)
            own[key] = {**columns, "net_s": [max(wall - wait, 1e-6) for wall, wait in waits]}
    return found


def compare(
    base: Session,
    candidate: Session,
    cells: Sequence[str],
    anchor: str,
    *,
    mode: Mode,
    net: bool,
    rounds: int,
    slower: float,
) -> tuple[bool, float]:
    """Whether the later session fails, and what it could have seen of all cells together."""
    column, metric = ("net_s", "net") if net else ("cpu_s", "cpu")

    def rows(side: Session, arm: str, factor: float) -> list[list[float]]:
        divisors = side[arm, anchor][column] if mode == "anchored" else [1.0] * rounds
        return [
            [
                factor * value / divisor
                for value, divisor in zip(side[arm, cell][column][:rounds], divisors, strict=False)
            ]
            for cell in cells
        ]

    def witnesses(side: Session, arm: str) -> Witnesses:
        wall, cpu = (
            [value for cell in cells for value in side[arm, cell][name][:rounds]] for name in ("wall_s", "cpu_s")
        )
        return Witnesses(wall_s=wall, cpu_s=cpu)

    shift = environment_shift(
        witnesses(base, "P"), witnesses(candidate, "Q"), metric=metric, anchored=mode == "anchored"  # type: ignore[arg-type]  # one of two
    )  # fmt: skip
    settings = GateSettings(mode=mode, metric=metric, environment_shift=shift)  # type: ignore[arg-type]  # one of two
    found = decide(rows(base, "P", 1.0), rows(candidate, "Q", 1 + slower), settings)
    return found.verdict == "regressed", found.total.visible or float("inf")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path, help="gzipped CSV")
    parser.add_argument("--cells", nargs="+", required=True, help="cells that are judged")
    parser.add_argument("--anchor", required=True, help="cell that they are divided by")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of a session (default: 10)")
    parser.add_argument("--net", action="store_true", help="net time instead of CPU time")
    arguments = parser.parse_args()
    wanted = [(arm, cell) for arm in "PQ" for cell in (*arguments.cells, arguments.anchor)]
    sessions = [each for each in read(arguments.trace).values() if all(key in each for key in wanted)]
    pairs = list(itertools.permutations(sessions, 2))
    if not pairs:
        print("anchor_traces: fewer than two sessions have all these cells", file=sys.stderr)
        return 2
    print(
        f"{len(sessions)} sessions, {len(pairs)} comparisons, {arguments.rounds} rounds, {'net' if arguments.net else 'CPU'} time"
    )
    modes: tuple[Mode, Mode] = ("saved", "anchored")
    for mode in modes:
        texts, seen = [], 0.0
        for slower in SLOWER:
            found = [
                compare(
                    base, candidate, arguments.cells, arguments.anchor, mode=mode, net=arguments.net,
                    rounds=arguments.rounds, slower=slower,
                )
                for base, candidate in pairs
            ]  # fmt: skip
            share = statistics.fmean(failed for failed, _ in found)
            low, high = wilson_limits(share, len(found), 0.025)
            limits = "" if slower else f" [{100 * low:.1f}, {100 * high:.1f}]"
            seen = seen if slower else statistics.median(visible for _, visible in found)
            texts.append(f"{slower:+.0%}: {100 * share:.1f}{limits}")
        print(f"  {mode:<9} sees {100 * seen:.0f} %; failed, per cent: {', '.join(texts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
