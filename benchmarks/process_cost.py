"""What whole processes cost, compared in turn: CPU seconds and peak memory of each side, paired by round.

CPU time (user + system, descendants included) is compared rather than wall time, which other work on the machine
falsifies.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.pairs import in_turn, median_interval

MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the commands that are compared."""

    name: str
    command: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]
    expected: str
    """A text that the output holds if the command did its work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one process cost."""

    cpu_s: float
    """User + system time, with that of the descendants it waited for."""
    peak_rss_bytes: int
    """The largest resident set of the process or of one descendant; never below that of this script, some 20 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One side beside the reference, from the same rounds."""

    ratio: float
    """Median CPU time over that of the reference."""
    difference_s: float
    """Median of the differences round by round."""
    interval_s: tuple[float, float]
    """Bootstrap interval of that median, 95 %."""
    peak_difference_bytes: float
    """Median peak memory minus that of the reference."""


class RunFailedError(Exception):
    """A measured command did not do what it should, so that its cost says nothing."""


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what changes how Python or pytest starts."""
    dropped = ("LLMCI", "PYTEST", "COVERAGE", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONHASHSEED": "0", **extra}


def run(side: Side, output: Path) -> Cost:
    """Run a command once and take its cost from the kernel.

    :param output: the file that receives stdout and stderr.
    :raises RunFailedError: if the expected text is not in them.
    """
    with output.open("wb") as stream:
        child = subprocess.Popen(
            side.command,
            cwd=side.cwd,
            env=dict(side.environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # wait4 reaped it: Popen must not wait again
    text = output.read_text(encoding="utf-8", errors="replace")
    if side.expected not in text:
        raise RunFailedError(
            f"{side.name}: exit status {child.returncode} and no '{side.expected}' in the output of "
            f"{' '.join(side.command)}\n{text[-2000:]}"
        )
    return Cost(cpu_s=usage.ru_utime + usage.ru_stime, peak_rss_bytes=usage.ru_maxrss * MAXRSS_UNIT_BYTES)


def measure_in_turn(sides: Sequence[Side], rounds: int, output: Path) -> dict[str, list[Cost]]:
    """The costs of each side by round, after one unmeasured run of each that fills the caches.

    :raises RunFailedError: if a command fails.
    """
    return in_turn({side.name: partial(run, side, output) for side in sides}, rounds)


def median_cpu_s(costs: Sequence[Cost]) -> float:
    """Median CPU seconds."""
    return statistics.median(cost.cpu_s for cost in costs)


def median_peak_bytes(costs: Sequence[Cost]) -> float:
    """Median peak memory."""
    return statistics.median(cost.peak_rss_bytes for cost in costs)


def compare(costs: Sequence[Cost], reference: Sequence[Cost]) -> Comparison:
    """One side beside the reference; both of the same number of rounds."""
    differences = [one.cpu_s - other.cpu_s for one, other in zip(costs, reference, strict=True)]
    return Comparison(
        ratio=median_cpu_s(costs) / median_cpu_s(reference),
        difference_s=statistics.median(differences),
        interval_s=median_interval(differences),
        peak_difference_bytes=median_peak_bytes(costs) - median_peak_bytes(reference),
    )


def table(costs: Mapping[str, Sequence[Cost]], reference: str) -> list[str]:
    """The figures of all sides, one line a side."""
    lines = [f"{'':<22}{'CPU s':>8}{'ratio':>8}{'adds ms':>10}{'95 % interval':>18}{'peak MB':>9}{'adds MB':>9}"]
    for name, of_side in costs.items():
        start = f"{name:<22}{median_cpu_s(of_side):>8.3f}"
        peak = f"{median_peak_bytes(of_side) / 1e6:>9.1f}"
        if name == reference:
            lines.append(f"{start}{'1.000':>8}{'':>28}{peak}")
            continue
        seen = compare(of_side, costs[reference])
        low, high = (1e3 * bound for bound in seen.interval_s)
        lines.append(
            f"{start}{seen.ratio:>8.3f}{1e3 * seen.difference_s:>10.1f}{f'{low:.1f} .. {high:.1f}':>18}"
            f"{peak}{seen.peak_difference_bytes / 1e6:>9.1f}"
        )
    return lines


def plugin_session(folder: Path, arguments: Sequence[str], output: Path) -> None:
    """Run pytest with this checkout's plugin and no other one.

    :param output: a file that the session leaves.
    :raises RunFailedError: if it failed or did not leave it.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_llmci.plugin", "-p", "no:cacheprovider", "-q", *arguments],
        cwd=folder,
        env=clean_environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONPATH=str(Path(__file__).resolve().parents[1])),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not output.is_file():
        raise RunFailedError(f"the session ended with status {done.returncode}:\n{done.stdout[-3000:]}{done.stderr}")
