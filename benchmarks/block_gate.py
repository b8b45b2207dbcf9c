"""How often the gate fails without cause behind a server whose speed changes from block to block, by rounds and by blocks.

    python -m benchmarks.block_gate [--sessions 1000] [--seed 1]

A session is one model with one cell, or with four that are asked in turn: four blocks of five rounds, a look after each, as
in the plugin. The rounds vary by 3 % (standard deviation of the logarithm of the sides' ratio). What a block keeps,
common to all cells of the model:

- ``calm``: nothing;  ``spread``: normal, 5 or 20 %;
- ``throttled``: in half of the blocks one of the sides, drawn by lot, takes 50 % longer;
- ``drifting``: 10 %, from round to round 0.9 of what it was before, across blocks;
- ``two speeds``: one side or the other takes 30 % longer in every block: the known exception.

A row says which share of sessions failed, with the 95 % Wilson interval; the last ones with a planted change, where blocks differ by 2 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.pairs import show_progress
from pytest_llmci.stats.compare import GateSettings, Unit, decide
from pytest_llmci.stats.rates import wilson_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROUND_SD: Final = 0.03
BLOCK: Final = 5
Kept = Callable[[np.random.Generator, int], "Floats"]
"""(Chance, blocks) -> log(candidate / base) that each round keeps."""


def spread(size: float) -> Kept:
    return lambda chance, blocks: np.repeat(chance.normal(0, size, blocks), BLOCK)


def throttled(chance: np.random.Generator, blocks: int) -> Floats:
    return np.repeat(np.log(1.5) * chance.choice([-1, 1, 0, 0], blocks), BLOCK)


def two_speeds(chance: np.random.Generator, blocks: int) -> Floats:
    return np.repeat(np.log(1.3) * chance.choice([-1, 1], blocks), BLOCK)


def drifting(chance: np.random.Generator, blocks: int, size: float = 0.10, kept: float = 0.9) -> Floats:
    found = [chance.normal(0, size)]
    for _ in range(blocks * BLOCK - 1):
        found.append(kept * found[-1] + chance.normal(0, size * np.sqrt(1 - kept**2)))
    return np.array(found)


def changed(by: float) -> Kept:
    return lambda chance, blocks: spread(0.02)(chance, blocks) + np.log1p(by)


ROWS: Final[dict[str, tuple[int, Kept]]] = {
    "calm": (4, spread(0.0)),
    "spread, 5 %": (4, spread(0.05)),
    "spread, 20 %": (4, spread(0.20)),
    "throttled": (4, throttled),
    "drifting": (4, drifting),
    "two speeds": (4, two_speeds),
    "two speeds, 8 blocks": (8, two_speeds),
    "+10 %, 4 blocks": (4, changed(0.10)),
    "+20 %, 4 blocks": (4, changed(0.20)),
    "+10 %, 8 blocks": (8, changed(0.10)),
}


def failed(kept: Kept, blocks: int, cells: int, unit: Unit, chance: np.random.Generator) -> bool:
    """Whether one session fails."""
    values = np.exp(chance.normal(0, ROUND_SD, (cells, blocks * BLOCK)) + kept(chance, blocks))
    for look in range(blocks):
        rounds = (look + 1) * BLOCK
        settings = GateSettings(unit=unit, look=look, looks=blocks, last=look == blocks - 1)
        pairs = [number // BLOCK for number in range(rounds)]
        if decide(np.ones((cells, rounds)), values[:, :rounds], settings, pairs=pairs).verdict == "regressed":
            return True
    return False


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write(
        "| what a block keeps | 1 cell, by rounds | by blocks | 4 cells, by rounds | by blocks |\n|---|---|---|---|---|\n"
    )
    for name, (blocks, kept) in ROWS.items():
        found = []
        for cells in (1, 4):
            for unit in ("round", "block"):
                show_progress(f"{name}, {cells}, {unit}", last=False)
                chance = np.random.default_rng(options.seed)
                count = sum(failed(kept, blocks, cells, unit, chance) for _ in range(options.sessions))
                low, high = wilson_limits(count / options.sessions, options.sessions, 0.025)
                found.append(f"{100 * count / options.sessions:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
        sys.stdout.write(f"| {name} | {' | '.join(found)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
