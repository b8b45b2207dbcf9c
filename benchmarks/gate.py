"""How often the regression gate fails without cause, what it finds, and what it costs.

    python -m benchmarks.gate [--sessions 1000] [--seed 1] [--check]

1. Cost: interleaved rounds of 14,720 cells x 20 rounds decided, CPU time, the median of five, and the peak memory of this process (Linux).
2. A matrix of 5 models x 10 prompts, 5, 10 and 20 rounds over 5 fresh pairs of processes, decided once.
3. The default of the plugin: blocks of 5 rounds in a fresh pair, a look after each, at most 4. Cells that are certain stop, and
   the session stops when it has failed or no cell is undecided. For the matrix and for one model x 2 prompts.

Sessions are simulated; measured noise stands behind the figures, on a busy virtual machine with two cores:

- round: log(time) of each side has noise of Student's t with 4 degrees of freedom (heavy tails), scaled so that the ratio of
  the sides has a robust standard deviation of 3.2 %; besides, one round in fifty is stalled by 20 % on average (exponential);
- process: each process keeps an offset of 1 % (standard deviation) for its life, half of its variance common to all cells of
  the model and half the cell's own;
- session: both sides share it, so that it cancels; none is simulated.

A row says which share of sessions failed, with the 95 % Wilson interval. Power is the share that failed with a planted change.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.pairs import Targets, machine_line, show_progress
from pytest_llmci.stats.compare import GateSettings, Verdicts, decide
from pytest_llmci.stats.rates import wilson_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROUND_SD, PROCESS_SD = 0.032, 0.010
STALLED, STALL = 0.02, 0.20
T_FREEDOM, DIFFERENCE_QUARTILE = 4, 1.138
"""Upper quartile of the difference of two t with 4 degrees of freedom; a normal one's lies at 0.6745 standard deviations."""
BLOCK, LOOKS, PAIRS = 5, 4, 5
CHANGES = ("none", "one cell +5 %", "one model +5 %", "all +5 %", "one cell +10 %", "all +10 %")


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """Models x prompts."""

    models: int
    prompts: int

    @property
    def cells(self) -> int:
        return self.models * self.prompts

    @property
    def owners(self) -> list[str]:
        return [f"model-{cell // self.prompts}" for cell in range(self.cells)]

    def planted(self, change: str, chance: np.random.Generator) -> Floats:
        """The change of each cell as a logarithm."""
        found = np.zeros(self.cells)
        if change == "none":
            return found
        what, size = change.split(" +")
        cell = int(chance.integers(self.cells))
        first = cell // self.prompts * self.prompts
        hit = {"one cell": slice(cell, cell + 1), "one model": slice(first, first + self.prompts), "all": slice(None)}[
            what
        ]
        found[hit] = np.log1p(float(size.removesuffix(" %")) / 100)
        return found


def block(matrix: Matrix, rounds: int, change: Floats, chance: np.random.Generator) -> tuple[Floats, Floats]:
    """Times of base and candidate, ``[cells, rounds]``, in a fresh pair of processes."""
    return side(matrix, rounds, np.zeros(matrix.cells), chance), side(matrix, rounds, change, chance)


def side(matrix: Matrix, rounds: int, change: Floats, chance: np.random.Generator) -> Floats:
    scale = ROUND_SD * 0.6745 / DIFFERENCE_QUARTILE
    noise = scale * chance.standard_t(T_FREEDOM, (matrix.cells, rounds))
    stalls = np.where(chance.random(noise.shape) < STALLED, chance.exponential(STALL, noise.shape), 0.0)
    kept = PROCESS_SD / np.sqrt(2)
    process = kept * chance.standard_normal(matrix.models).repeat(matrix.prompts)
    process += kept * chance.standard_normal(matrix.cells)
    return np.asarray(np.exp(noise + stalls + (process + change)[:, None]))


def fixed(matrix: Matrix, rounds: int, change: Floats, chance: np.random.Generator) -> str:
    """The verdict on rounds that are spread over five pairs."""
    blocks = [block(matrix, rounds // PAIRS, change, chance) for _ in range(PAIRS)]
    base, candidate = (np.concatenate(sides, axis=1) for sides in zip(*blocks, strict=True))
    pairs = np.repeat(np.arange(PAIRS), rounds // PAIRS)
    return decide(base, candidate, GateSettings(), models=matrix.owners, pairs=pairs).verdict


def adaptive(matrix: Matrix, change: Floats, chance: np.random.Generator) -> tuple[str, float]:
    """The verdict as the plugin measures, and the rounds that a cell got on average."""
    base: list[Floats] = [np.zeros(0)] * matrix.cells
    candidate, pairs = list(base), [np.zeros(0, np.int64)] * matrix.cells
    wanted: Sequence[int] = range(matrix.cells)
    for look in range(LOOKS):
        one, other = block(matrix, BLOCK, change, chance)
        for cell in wanted:
            base[cell] = np.append(base[cell], one[cell])
            candidate[cell] = np.append(candidate[cell], other[cell])
            pairs[cell] = np.append(pairs[cell], [look] * BLOCK)
        found = look_at(base, candidate, pairs, matrix, look)
        wanted = [cell for cell, effect in enumerate(found.cells) if effect.undecided]
        if found.verdict == "regressed" or not wanted:
            break
    return found.verdict, statistics.fmean(len(values) for values in base)


def look_at(
    base: Sequence[Floats], candidate: Sequence[Floats], pairs: Sequence[NDArray[np.int64]], matrix: Matrix, look: int
) -> Verdicts:
    settings = GateSettings(look=look, looks=LOOKS, last=look == LOOKS - 1)
    return decide(base, candidate, settings, models=matrix.owners, pairs=[row.tolist() for row in pairs])


def show(what: str, verdicts: Sequence[str], rounds: float) -> float:
    """Print a row; the share of sessions that failed, in per cent."""
    count = len(verdicts)
    failed, open_ended = (100 * verdicts.count(name) / count for name in ("regressed", "inconclusive"))
    low, high = wilson_limits(failed / 100, count, 0.025)
    interval = f"[{100 * low:.1f}, {100 * high:.1f}]"
    print(f"| {what} | {failed:.1f} % {interval} | {open_ended:.1f} % | {rounds:.1f} |", flush=True)
    return failed


def show_heading(title: str) -> None:
    print(f"\n{title}\n\n| change | failed | inconclusive | rounds a cell |\n|---|---|---|---|")


def judge_cost(targets: Targets, chance: np.random.Generator) -> None:
    matrix = Matrix(models=1472, prompts=10)
    base, candidate = (np.exp(chance.normal(0, 0.03, (matrix.cells, 20))) for _ in range(2))
    pairs, models, seconds = np.arange(20) // BLOCK, matrix.owners, []
    for _ in range(5):
        begin = time.process_time()
        decide(base, candidate, GateSettings(), models=models, pairs=pairs)
        seconds.append(time.process_time() - begin)
    targets.judge("14,720 cells x 20 rounds decided, CPU time", statistics.median(seconds), 0.5, "s")
    targets.judge("peak memory of this process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1024, "MiB")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000, help="simulated sessions a row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    options = parser.parse_args(arguments)
    chance, targets = np.random.default_rng(options.seed), Targets()
    print(machine_line())
    judge_cost(targets, chance)
    found: dict[tuple[str, str], float] = {}
    wide, narrow = Matrix(models=5, prompts=10), Matrix(models=1, prompts=2)
    for rounds in (5, 10, 20):
        title = f"5 models x 10 prompts, {rounds} rounds over {PAIRS} pairs"
        show_heading(title)
        for change in CHANGES[:5]:
            verdicts = []
            for number in range(options.sessions):
                verdicts.append(fixed(wide, rounds, wide.planted(change, chance), chance))
                show_progress(f"{number + 1} of {options.sessions}", last=number + 1 == options.sessions)
            found[f"matrix, {rounds} rounds", change] = show(change, verdicts, rounds)
    for matrix, name in ((narrow, "1 model x 2 prompts"), (wide, "5 models x 10 prompts")):
        show_heading(f"{name}, blocks of {BLOCK} rounds in a fresh pair, at most {LOOKS}")
        for change in CHANGES:
            ended = [adaptive(matrix, matrix.planted(change, chance), chance) for _ in range(options.sessions)]
            rounds_used = statistics.fmean(used for _, used in ended)
            found[f"default, {name}", change] = show(change, [verdict for verdict, _ in ended], rounds_used)
    print()
    for (where, change), failed in found.items():
        if change == "none":
            targets.judge(f"{where}: false alarms", failed, 1.0, "%")
    targets.judge(
        "matrix, 10 rounds: one model +5 %", found["matrix, 10 rounds", "one model +5 %"], 99, "%", at_least=True
    )
    targets.judge("matrix, 5 rounds: all +5 %", found["matrix, 5 rounds", "all +5 %"], 99.5, "%", at_least=True)
    targets.judge(
        "matrix, 20 rounds: one cell +10 %", found["matrix, 20 rounds", "one cell +10 %"], 96, "%", at_least=True
    )
    return targets.status(check=options.check)


if __name__ == "__main__":
    sys.exit(main())
