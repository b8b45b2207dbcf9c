"""What the result log costs beside pandas and parquet: a million rounds in 14,720 lines, written, chained and read.

    python -m benchmarks.log_store [--rounds 5] [--lines 14720] [--samples 68] [--check]

Both sides start from the same columns in memory, one list of numbers a metric and block: every metric that a round of the
suite has, integers where the log stores integers, and the place of its output, its finish reason and its mark of noise;
with the ids, prompt, output and hashes of the block. Numbers are drawn at random; token times are left out, as a table
has no column for them. Ours: every block appended to a chained log, then the log read back into records, the chain
checked on the way. Pandas: a data frame made of the columns, written with `to_parquet` and read with `read_parquet` (pyarrow,
snappy). Each side runs in a process of its own, in turn, ours twice (A/A control); what counts is the CPU time of that
work alone, and the peak memory of the process. Run it from the root of the repository with pandas and pyarrow installed.
With --check the exit status is 1 when the target is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from benchmarks.pairs import in_turn, judged, paired_ratio
from benchmarks.process_cost import MAXRSS_UNIT_BYTES, RunFailedError, clean_environment

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1.5
OURS, AGAIN, PANDAS = "log", "log again", "pandas + parquet"
OUTPUT = "izizmhwaropszibf i mkp nnhf zitglzii  pxbbmrodof r"
PROMPT = "Write a Python function that returns the n-th Fibonacci number."


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one process did."""

    write_s: float
    """CPU seconds."""
    read_s: float
    size: int
    """Bytes of the file."""
    peak: int
    """Bytes of the process."""

    @property
    def cpu_s(self) -> float:
        """Of both."""
        return self.write_s + self.read_s


Block = tuple[int, dict[str, list[float | None]]]


def blocks(lines: int, samples: int) -> Iterator[Block]:
    """Number of a block, and its numbers by metric."""
    import numpy as np

    from pytest_llmci.measure import builtin_metrics

    metrics = [metric for metric in builtin_metrics() if metric.scope == "round"]
    rng = np.random.default_rng(1)
    for number in range(lines):
        values: dict[str, list[float | None]] = {}
        for metric in metrics:
            if metric.stored == "ns" or metric.unit in ("B", "1"):
                values[metric.name] = rng.integers(10**7, 10**9, samples).tolist()
            else:
                values[metric.name] = rng.normal(100, 1, samples).tolist()
        yield number, values


def _ids(number: int) -> tuple[str, str, str, str]:
    """Cell, model, prompt and test."""
    model, prompt = f"m{number // 10:04}", f"p{number % 10}"
    return f"{model}-{prompt}", model, prompt, f"inference::{model}-{prompt}"


def log_work(folder: Path, lines: int, samples: int) -> Work:
    """Our side."""
    from pytest_llmci.records import GenerationSettings, HeaderRecord, RoundsRecord
    from pytest_llmci.store.log import LogReader, LogWriter

    path = folder / "log.jsonl"
    writer = LogWriter(path)
    writer.append(
        HeaderRecord(
            schema_version=1, run_id="x", started="2026-01-01T00:00:00.000Z", version="0", command=[], settings={},
            environment={}, metrics=[],
        )
    )  # fmt: skip
    spent = 0.0
    prompt_sha256, output_sha256 = sha256(PROMPT.encode()).hexdigest(), sha256(OUTPUT.encode()).hexdigest()
    for number, values in blocks(lines, samples):
        begin = time.process_time()
        cell, model, prompt_id, test = _ids(number)
        writer.append(
            RoundsRecord(
                uid=f"r{number}", cell=cell, model=model, prompt_id=prompt_id, test=test, prompt=PROMPT,
                prompt_sha256=prompt_sha256, origin="measured", worker="w1", block=0,
                first_round=0, started="2026-01-01T00:00:02.000Z", generation=GenerationSettings(), n=samples,
                values=values, reasons={}, token_ns=[], outputs=[OUTPUT], output_of_round=[0] * samples, md5=["0" * 32],
                output_sha256=[output_sha256], finish_reasons=["length"] * samples, noisy=[""] * samples,
            )
        )  # fmt: skip
        spent += time.process_time() - begin
    begin = time.process_time()
    writer.close(0)
    spent += time.process_time() - begin
    begin = time.process_time()
    rounds = 0
    for record in LogReader(path, ("rounds",)):
        assert isinstance(record, RoundsRecord)  # no other kind was asked for
        rounds += record.n
    read = time.process_time() - begin
    _check(rounds, lines * samples)
    return Work(write_s=spent, read_s=read, size=path.stat().st_size, peak=_peak())


def pandas_work(folder: Path, lines: int, samples: int) -> Work:
    """The other side."""
    import pandas as pd

    path = folder / "rounds.parquet"
    columns: dict[str, list[float | str | None]] = {}
    prompt_sha256, output_sha256 = sha256(PROMPT.encode()).hexdigest(), sha256(OUTPUT.encode()).hexdigest()
    spent = 0.0
    for number, values in blocks(lines, samples):
        begin = time.process_time()
        ids = dict(zip(("cell", "model", "prompt_id", "test"), _ids(number), strict=True))
        same = {
            "uid": f"r{number}", **ids, "prompt": PROMPT, "prompt_sha256": prompt_sha256, "worker": "w1", "output": OUTPUT,
            "md5": "0" * 32, "output_sha256": output_sha256, "finish_reason": "length", "noisy": "",
        }  # fmt: skip
        for name, value in same.items():
            columns.setdefault(name, []).extend([value] * samples)
        for name, of_metric in values.items():
            columns.setdefault(name, []).extend(of_metric)
        spent += time.process_time() - begin
    begin = time.process_time()
    pd.DataFrame(columns, copy=False).to_parquet(path)
    spent += time.process_time() - begin
    del columns
    begin = time.process_time()
    found = pd.read_parquet(path)
    read = time.process_time() - begin
    _check(len(found), lines * samples)
    return Work(write_s=spent, read_s=read, size=path.stat().st_size, peak=_peak())


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise RunFailedError(f"{found} rounds were read of {expected}")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT_BYTES


SIDES: dict[str, Callable[[Path, int, int], Work]] = {OURS: log_work, AGAIN: log_work, PANDAS: pandas_work}


def in_child(side: str, lines: int, samples: int) -> Work:
    """One side in a process of its own.

    :raises RunFailedError: if it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.log_store", "--side", side, "--lines", str(lines), "--samples", str(samples)],
        cwd=ROOT, env=clean_environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RunFailedError(f"{side}: {done.stderr[-2000:]}")
    return Work(**json.loads(done.stdout))


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default: 5)")
    parser.add_argument("--lines", type=int, default=14_720, help="blocks (default: 14720)")
    parser.add_argument("--samples", type=int, default=68, help="rounds of a block (default: 68)")
    parser.add_argument(
        "--side", choices=tuple(SIDES), help="do that side's work in this process, and print what it took"
    )
    parser.add_argument("--check", action="store_true", help="exit with status 1 when the target is missed")
    arguments = parser.parse_args()
    if arguments.side:
        gc.freeze()
        with tempfile.TemporaryDirectory(prefix="llmci-store-") as name:
            work = SIDES[arguments.side](Path(name), arguments.lines, arguments.samples)
        print(json.dumps({"write_s": work.write_s, "read_s": work.read_s, "size": work.size, "peak": work.peak}))
        return 0
    try:
        sides = {side: partial(in_child, side, arguments.lines, arguments.samples) for side in SIDES}
        found = in_turn(sides, arguments.rounds)
    except RunFailedError as error:
        print(f"log_store: {error}", file=sys.stderr)
        return 2
    print(
        f"{arguments.lines * arguments.samples:,} rounds in {arguments.lines:,} lines, medians of {arguments.rounds} rounds"
    )
    print(f"{'':<18}{'write CPU s':>12}{'read CPU s':>12}{'both':>8}{'file MB':>9}{'peak MB':>9}")
    for side, works in found.items():
        middle = sorted(works, key=lambda work: work.cpu_s)[len(works) // 2]
        print(
            f"{side:<18}{middle.write_s:>12.2f}{middle.read_s:>12.2f}{middle.cpu_s:>8.2f}{middle.size / 1e6:>9.0f}{middle.peak / 1e6:>9.0f}"
        )
    costs = {side: [work.cpu_s for work in works] for side, works in found.items()}
    print(f"  A/A {paired_ratio(costs[AGAIN], costs[OURS])}")
    against = paired_ratio(costs[OURS], costs[PANDAS])
    print(f"  log over pandas + parquet {against}")
    line, met = judged("CPU time over pandas + parquet", against.median, LIMIT, "x")
    print(line)
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
