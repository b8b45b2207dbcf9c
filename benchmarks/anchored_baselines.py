"""Real sessions of the plugin as baselines of each other: as they are, and beside the frozen model (``--llmci-anchor``).

    python -m benchmarks.anchored_baselines [--model smollm2] [--tokens 16] [--rounds 10] [--sessions 12] [--keep DIR]

Each session is a pytest of its own with two prompts; every third one runs beside two processes that keep the CPUs busy. Then each
is compared with each other one by the engine of ``llmci compare``, once without and once with the times of the frozen
model, the later one's own times made longer. Printed is the per cent of comparisons that fail, with 95 % limits by Wilson's method
where nothing changed (comparisons share sessions, so that these are too narrow), and the median of what a cell could show.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.pairs import machine_line
from benchmarks.workers import ROOT
from pytest_llmci.engine.comparisons.compare_runs import compare_stored
from pytest_llmci.engine.comparisons.stored_run import StoredCell, StoredRun, read_run
from pytest_llmci.stats.rates import wilson_limits
from pytest_llmci.store.runfolder import list_runs

SLOWER: Final = (0.0, 0.05, 0.10, 0.20, 0.30)
BUSY_EVERY: Final = 3
PROMPTS: Final = (
    "- {id: fibonacci, prompt: Write a Python function for Fibonacci numbers.}\n- {id: river, prompt: Name a river.}\n"
)
OWN: Final = ("cpu_time", "net_time", "latency")


@contextmanager
def busy(count: int) -> Iterator[None]:
    """That many processes that compute."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def session(folder: Path, model: str, tokens: int, rounds: int) -> None:
    """One more run in the folder."""
    (folder / "prompts.yaml").write_text(PROMPTS, "utf-8")
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir", str(folder),
        f"--llm-models={model}", "--llmci-suite=inference", f"--llm-prompts={folder / 'prompts.yaml'}", f"--llmci-rounds={rounds}",
        f"--llmci-max-rounds={rounds}", f"--llmci-max-new-tokens={tokens}", f"--llmci-output={folder}", "--llmci-anchor",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def changed(run: StoredRun, slower: float, *, anchored: bool) -> StoredRun:
    """A run whose model was slower, with or without the frozen model's times."""

    def one(cell: StoredCell) -> StoredCell:
        own = {name: array("d", [value * (1 + slower) for value in cell.numbers[name]]) for name in OWN}
        return replace(cell, numbers={**cell.numbers, **own}, anchor=cell.anchor if anchored else "")

    return replace(run, cells={key: tuple(map(one, cells)) for key, cells in run.cells.items()})


def compare(base: StoredRun, candidate: StoredRun, slower: float, *, anchored: bool) -> tuple[bool, list[float]]:
    """Whether it fails, and what each cell's CPU time could have shown."""
    found = compare_stored([changed(base, 0, anchored=anchored)], changed(candidate, slower, anchored=anchored))
    results = [result for cell in found.cells for result in cell.results if result.metric == "cpu_time"]
    modes = {result.mode for result in results}
    if modes != {"anchored" if anchored else "saved"}:
        raise SystemExit(f"anchored_baselines: compared as {modes}: {found.notes}")
    times = [*(result for cell in found.cells for result in cell.results), *(each for _, each in found.models)]
    failed = any(each.verdict == "regressed" for each in times if each.metric in OWN)
    return failed, [result.visible for result in results if result.visible is not None]


def show(runs: list[StoredRun]) -> None:
    """The table."""
    pairs = list(itertools.permutations(runs, 2))
    print(f"{len(runs)} sessions, {len(pairs)} comparisons")
    for anchored in (False, True):
        texts, seen = [], list[float]()
        for slower in SLOWER:
            found = [compare(base, candidate, slower, anchored=anchored) for base, candidate in pairs]
            share = statistics.fmean(failed for failed, _ in found)
            low, high = wilson_limits(share, len(found), 0.025)
            limits = "" if slower else f" [{100 * low:.1f}, {100 * high:.1f}]"
            seen = seen or [size for _, sizes in found for size in sizes]
            texts.append(f"{slower:+.0%}: {100 * share:.1f}{limits}")
        name = "beside" if anchored else "as they are"
        print(
            f"  {name:<12} sees {100 * statistics.median(seen):.0f} % in a cell; failed, per cent: {', '.join(texts)}"
        )
    for title, beside in (("CPU time", False), ("by the frozen model's", True)):
        print(f"  SD between sessions, {title}: {100 * _spread(runs, beside=beside):.1f} %")


def _spread(runs: list[StoredRun], *, beside: bool) -> float:
    """Of the logarithm of a session's median, the mean over its cells."""
    places = []
    for run in runs:
        cells = [cell for same in run.cells.values() for cell in same]
        logs = []
        for cell in cells:
            by = cell.numbers["anchor_cpu_time"] if beside else array("d", [1.0] * cell.rounds)
            ratios = [value / other for value, other in zip(cell.numbers["cpu_time"], by, strict=True)]
            logs.append(math.log(statistics.median(ratios)))
        places.append(statistics.fmean(logs))
    return statistics.stdev(places)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="model (default: smollm2)")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of an answer (default: 16)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of a session (default: 10)")
    parser.add_argument("--sessions", type=int, default=12, help="how many (default: 12)")
    parser.add_argument("--keep", type=Path, help="folder of the runs, those that are there included")
    arguments = parser.parse_args()
    print(machine_line(), flush=True)
    with tempfile.TemporaryDirectory(prefix="llmci-anchored-") as name:
        folder = arguments.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(len(list_runs(folder)), arguments.sessions):
            with busy(2 if number % BUSY_EVERY == BUSY_EVERY - 1 else 0):
                session(folder, arguments.model, arguments.tokens, arguments.rounds)
        show([read_run(run) for run in list_runs(folder)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
