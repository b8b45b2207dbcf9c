"""How often the gate on several imported runs of a tool a side is wrong, and what it finds: simulated, no model.

``python -m benchmarks.imported_runs``: each side is so many runs of a tool, one number each, with log-normal noise between
runs. A false alarm is ``regressed`` where nothing changed; found is ``regressed`` where the candidate is 10 % slower.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence

from pytest_llmci.stats.compare import GateSettings, decide

SETTINGS = GateSettings(mode="saved", session=0.0, metric="wall")
NOISE = (0.005, 0.02, 0.05)
RUNS = (3, 4, 5, 8)
PLANTED = 0.10


def shares(noise: float, runs: int, times: int, seed: int) -> tuple[float, float, float]:
    """Shares of false alarms, of passes where nothing changed, and of the planted slowdown found."""
    import numpy as np

    generator = np.random.default_rng(seed)
    alarms = passes = found = 0
    for _ in range(times):
        base, candidate = np.exp(generator.normal(0, noise, (2, 1, runs)))
        verdict = decide(base, candidate, SETTINGS).cells[0].verdict
        alarms, passes = alarms + (verdict == "regressed"), passes + (verdict == "pass")
        found += decide(base, candidate * (1 + PLANTED), SETTINGS).cells[0].verdict == "regressed"
    return alarms / times, passes / times, found / times


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1500, help="simulated comparisons a row (default: %(default)s)")
    times = parser.parse_args(argv).times
    print("| noise between runs | runs a side | false alarms | passes | 10 % found |\n|--:|--:|--:|--:|--:|")
    for noise in NOISE:
        for runs in RUNS:
            alarms, passes, found = shares(noise, runs, times, seed=runs)
            print(f"| {noise * 100:g} % | {runs} | {alarms * 100:.1f} % | {passes * 100:.0f} % | {found * 100:.0f} % |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
