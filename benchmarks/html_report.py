"""What the HTML report with its plots costs: CPU time, memory and size of the file.

    python -m benchmarks.html_report [--rounds 3] [--small-only] [--check]

Two runs are measured once each, of models of the `echo` kind in this checkout's plugin: 5 models x 10 prompts x 20 rounds,
and 1,472 models x 10 prompts x 1 round. Then `llmci report RUN --sink html` is run in turn on each, beside a second time the
small one (A/A control) and beside `--sink otava`, which reads the same log and writes a few numbers: what starting Python and
reading costs. It is what a session pays at its end and more, as a session has read its log and imported half of it already.
With --check the exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pairs import judged
from benchmarks.process_cost import (
    Cost,
    RunFailedError,
    Side,
    clean_environment,
    measure_in_turn,
    median_cpu_s,
    median_peak_bytes,
    plugin_session,
    table,
)

ROOT = Path(__file__).resolve().parents[1]
SMALL, AGAIN, LARGE, READING = "5 x 10 x 20", "5 x 10 x 20 again", "1,472 x 10 x 1", "reading 1,472 x 10 x 1"
CPU_LIMITS_S = {SMALL: 5.0, LARGE: 60.0}
PEAK_LIMIT_MB = {LARGE: 1024 * 1.048576}
SIZE_LIMIT_MB = {SMALL: 2.0}


def measure_run(folder: Path, models: int, rounds: int) -> Path:
    """A run of so many models over the ten packaged prompts.

    :raises RunFailedError: if the session failed.
    """
    folder.mkdir()
    specs = "".join(f"  - m{number:04}=echo:+itl={50 + number % 50}us\n" for number in range(models))
    (folder / "models.yaml").write_text(f"models:\n{specs}", encoding="utf-8")
    run = folder / "results" / "latest"
    plugin_session(
        folder,
        [
            f"--llm-models=@{folder / 'models.yaml'}", "--llmci-suite=inference", "--llmci-isolation=inline", "--llmci-warmup=0",
            f"--llmci-rounds={rounds}", f"--llmci-max-rounds={rounds}", "--llmci-max-new-tokens=24",
            f"--llmci-output={folder / 'results'}",
        ],
        run / "log.jsonl",
    )  # fmt: skip
    return run


def side(name: str, run: Path, sink: str) -> Side:
    """The command that writes one report."""
    return Side(
        name=name,
        command=[sys.executable, "-m", "pytest_llmci.cli.main", "report", str(run), "--sink", sink],
        cwd=run.parent,
        environment=clean_environment(PYTHONPATH=str(ROOT)),
        expected="wrote ",
    )


def report(costs: dict[str, list[Cost]], files: dict[str, Path]) -> bool:
    """Print the figures beside their targets; whether all are met."""
    print("\n".join(f"  {line}" for line in table(costs, SMALL)))
    verdicts = [
        judged(f"{name}: CPU time", median_cpu_s(costs[name]), limit, "s")
        for name, limit in CPU_LIMITS_S.items()
        if name in costs
    ]
    verdicts += [
        judged(f"{name}: peak memory", median_peak_bytes(costs[name]) / 1e6, limit, "MB")
        for name, limit in PEAK_LIMIT_MB.items()
        if name in costs
    ]
    verdicts += [
        judged(f"{name}: report.html", files[name].stat().st_size / 1e6, limit, "MB")
        for name, limit in SIZE_LIMIT_MB.items()
    ]
    for line, _ in verdicts:
        print(line)
    if LARGE in files:
        print(f"{LARGE}: report.html has {files[LARGE].stat().st_size / 1e6:.2f} MB")
    return all(met for _, met in verdicts)


def measure(folder: Path, rounds: int, *, small_only: bool) -> bool:
    """Measure the runs, then the reports; whether all targets are met.

    :raises RunFailedError: if a session or a report failed.
    """
    runs = {SMALL: measure_run(folder / "small", 5, 20)}
    sides = [side(SMALL, runs[SMALL], "html"), side(AGAIN, runs[SMALL], "html")]
    if not small_only:
        runs[LARGE] = measure_run(folder / "large", 1472, 1)
        sides += [side(LARGE, runs[LARGE], "html"), side(READING, runs[LARGE], "otava")]
    costs = measure_in_turn(sides, rounds, folder / "output.txt")
    return report(costs, {name: run / "report.html" for name, run in runs.items()})


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds of each side (default: 3)")
    parser.add_argument("--small-only", action="store_true", help="leave the 1,472 models out")
    parser.add_argument(
        "--keep", type=Path, help="an empty folder for the runs and reports, to look at (default: none)"
    )
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args(argv)
    try:
        if arguments.keep is not None:
            met = measure(arguments.keep, arguments.rounds, small_only=arguments.small_only)
        else:
            with tempfile.TemporaryDirectory(prefix="llmci-html-") as name:
                met = measure(Path(name), arguments.rounds, small_only=arguments.small_only)
    except RunFailedError as error:
        print(f"html_report: {error}", file=sys.stderr)
        return 2
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
