"""What the dashboard's first page costs, with a folder of 1,000 runs.

    python -m benchmarks.dashboard [--rounds 5] [--runs 1000] [--check]

One run is measured, 5 models of the `echo` kind x 10 prompts, and copied under other names and ids. Each side is a new process
that draws the first page once, through Streamlit's own test harness, with the table as a browser is sent it: the folder
with all runs, the folder with one (what Python, Streamlit and pandas cost), and that one a second time (A/A control).
With --check the exit status is 1 when the target is missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.html_report import measure_run
from benchmarks.pairs import judged
from benchmarks.process_cost import (
    RunFailedError,
    Side,
    clean_environment,
    measure_in_turn,
    median_cpu_s,
    table,
)

ROOT = Path(__file__).resolve().parents[1]
ONE, AGAIN = "1 run", "1 run again"
LIMIT_S = 3.0
DRAWN = "page drawn"
FIRST_PAGE = f"""
import sys
from streamlit.testing.v1 import AppTest

script = f"from pytest_llmci.dashboard.pages import show; show({{sys.argv[1]!r}})"
app = AppTest.from_string(script, default_timeout=600).run()
assert not app.exception and len(app.dataframe[0].value) == int(sys.argv[2])
print("{DRAWN}")
"""


def copy_runs(run: Path, folder: Path, count: int) -> None:
    """So many runs as this one, a minute apart."""
    log = (run / "log.jsonl").read_text(encoding="utf-8")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        name = f"{start + timedelta(minutes=number):%Y%m%dT%H%M%SZ}-{number:06x}"
        copied = folder / name
        shutil.copytree(run, copied)
        (copied / "log.jsonl").write_text(log.replace(run.name, name), encoding="utf-8")


def side(name: str, folder: Path, count: int) -> Side:
    """A process that draws the list of a folder."""
    return Side(
        name=name,
        command=[sys.executable, "-c", FIRST_PAGE, str(folder), str(count)],
        cwd=folder,
        environment=clean_environment(PYTHONPATH=str(ROOT)),
        expected=DRAWN,
    )


def measure(folder: Path, runs: int, rounds: int) -> bool:
    """Measure one run, copy it, draw the lists; whether the target is met.

    :raises RunFailedError: if the session or a page failed.
    """
    run = measure_run(folder / "measured", 5, 1).resolve()
    for name, count in (("one", 1), ("many", runs)):
        (folder / name).mkdir()
        copy_runs(run, folder / name, count)
    many = f"{runs:,} runs"
    sides = [side(ONE, folder / "one", 1), side(AGAIN, folder / "one", 1), side(many, folder / "many", runs)]
    costs = measure_in_turn(sides, rounds, folder / "output.txt")
    print("\n".join(f"  {line}" for line in table(costs, ONE)))
    line, met = judged(f"{many}: CPU time of a process that draws the page", median_cpu_s(costs[many]), LIMIT_S, "s")
    print(line)
    return met


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each side (default: 5)")
    parser.add_argument("--runs", type=int, default=1000, help="runs in the folder (default: 1000)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when the target is missed")
    arguments = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-dashboard-") as name:
            met = measure(Path(name), arguments.runs, arguments.rounds)
    except RunFailedError as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 2
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
