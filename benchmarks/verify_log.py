"""What `llmci verify` costs on a log of a million lines.

    python -m benchmarks.verify_log [--rounds 3] [--lines 1000000] [--check]

A run folder is generated with a log of so many lines, a block of five rounds and its verdict in turn, chained and closed as
a session does, and a manifest. `llmci verify` then runs on it in a process of its own, on one of a hundredth of the lines
(does memory grow with the log?), and on one in which a byte near the end was changed, which it must find. Beside it stands
`sha256sum` of the same file, as the least that a check of its bytes costs. CPU time, wall time and peak memory of the
process are taken. Run it from the root of the repository, with room for 2.5 GB in the folder for temporary files. With
--check the exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.compare_runs import block, cell_block
from benchmarks.pairs import Targets, machine_line
from benchmarks.process_cost import Cost, RunFailedError, Side, clean_environment, median_cpu_s, median_peak_bytes, run
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import CheckResult, FooterRecord, HeaderRecord, LogRecord, VerdictRecord, to_json
from pytest_llmci.store.chain import GENESIS, build_line
from pytest_llmci.store.encoding import dump
from pytest_llmci.store.environment import environment
from pytest_llmci.store.log import LOG_NAME
from pytest_llmci.store.manifest import seal

ROOT = Path(__file__).resolve().parents[1]
WALL_LIMIT_S = 5.0
GROWTH_LIMIT_MB = 10.0
BUSY = 1.5
"""Wall time over CPU time from which the machine, and not the command, is slow."""
SAMPLES, TOKENS, TEMPLATES = 5, 20, 64
RUN_ID = "20260101T000000Z-abcdef"


def bodies() -> list[bytes]:
    """Blocks and verdicts as the log holds them; so many of each are drawn, and come again in the log."""
    rng = random.Random(1)
    template = block(SAMPLES, TOKENS, rng)
    found: list[LogRecord] = []
    for number in range(TEMPLATES):
        one = cell_block(template, alias=f"m{number:04}", place=0, number=number, factor=1.0, rng=rng)
        check = CheckResult(name="valid", passed=True, message="the output is valid")
        found += [
            one,
            VerdictRecord(
                uid=f"v{number}", cell=one.cell, model=one.model, prompt_id=one.prompt_id, test=one.test, verdict="pass", checks=[check],
                rounds=SAMPLES,
            ),
        ]  # fmt: skip
    return [dump(to_json(record)).encode("ascii") for record in found]


def write_run(folder: Path, lines: int) -> int:
    """A run folder with a log of so many lines; returns the bytes of its log."""
    folder.mkdir()
    head = HeaderRecord(
        schema_version=1, run_id=RUN_ID, started="2026-01-01T00:00:00.000Z", version="0", command=["pytest"], settings={},
        environment=environment(), metrics=list(builtin_metrics()),
    )  # fmt: skip
    path = folder / LOG_NAME
    with path.open("wb", buffering=1 << 20) as stream:
        line, digest = build_line(GENESIS, 1, dump(to_json(head)).encode("ascii"))
        stream.write(line)
        drawn = bodies()
        for number in range(2, lines):
            line, digest = build_line(digest, number, drawn[number % len(drawn)])
            stream.write(line)
        footer = FooterRecord(lines=lines - 1, digest=digest, finished="2026-01-01T01:00:00.000Z", exit_status=0)
        line, digest = build_line(digest, lines, dump(to_json(footer)).encode("ascii"))
        stream.write(line)
    seal(folder, run=RUN_ID, log_lines=lines, log_digest=digest)
    return path.stat().st_size


def flip(path: Path) -> int:
    """Change one byte near the end; returns its offset."""
    at = path.stat().st_size - 4000
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 1]))
    return at


def timed(side: Side, rounds: int, output: Path) -> tuple[list[Cost], list[float]]:
    """Costs and wall times, after one run that does not count."""
    run(side, output)
    costs, walls = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        costs.append(run(side, output))
        walls.append(time.perf_counter() - begin)
    return costs, walls


def measure(folder: Path, lines: int, rounds: int) -> Targets:
    """Generate and verify; the figures beside their targets.

    :raises RunFailedError: if a verification said something else than it should.
    """
    clean = clean_environment(PYTHONPATH=str(ROOT))
    output, targets = folder / "output.txt", Targets()

    def side(name: str, expected: str) -> Side:
        command = [sys.executable, "-m", "pytest_llmci.cli.main", "verify", str(folder / name), "--no-rebuild"]
        return Side(name=name, command=command, cwd=folder, environment=clean, expected=expected)

    small, size = lines // 100, write_run(folder / "large", lines)
    write_run(folder / "small", small)
    print(f"{lines:,} lines, {size / 1e6:,.0f} MB; {machine_line()}")
    costs, walls = timed(side("large", f"{lines} lines, whole, with footer"), rounds, output)
    few, _ = timed(side("small", f"{small} lines, whole, with footer"), rounds, output)
    hasher = shutil.which("sha256sum")
    if hasher:
        command = [hasher, str(folder / "large" / LOG_NAME)]
        least = Side(name="sha256sum", command=command, cwd=folder, environment=clean, expected=LOG_NAME)
        bare, bare_walls = timed(least, rounds, output)
        print(f"  sha256sum: CPU time {median_cpu_s(bare):.2f} s, wall time {statistics.median(bare_walls):.2f} s")
    print(f"  CPU time {median_cpu_s(costs):.2f} s, peak memory {median_peak_bytes(costs) / 1e6:.0f} MB")
    wall, cpu = statistics.median(walls), median_cpu_s(costs)
    if wall > WALL_LIMIT_S >= cpu and wall > BUSY * cpu:  # it waited for a CPU, not for itself
        targets.refuse("wall time", f"{wall:.1f} s for {cpu:.1f} s of CPU time: other work keeps the CPUs busy")
    else:
        targets.judge("wall time", wall, WALL_LIMIT_S, "s")
    growth = (median_peak_bytes(costs) - median_peak_bytes(few)) / 1e6
    targets.judge(f"peak memory above that of {small:,} lines", growth, GROWTH_LIMIT_MB, "MB")
    flip(folder / "large" / LOG_NAME)
    run(side("large", "was changed"), output)
    found = output.read_text(encoding="utf-8")
    targets.judge_true("one flipped byte near the end is found", "FAILED: " in found)
    return targets


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (default: 3)")
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of the log (default: 1000000)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-verify-") as name:
            return measure(Path(name), arguments.lines, arguments.rounds).status(check=arguments.check)
    except RunFailedError as error:
        print(f"verify_log: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
