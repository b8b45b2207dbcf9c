"""What a session keeps of the run that it goes on with: 14,720 cells of a generated log, each looked up once.

    python -m benchmarks.resume_memory [--cells 14720] [--rounds 5] [--tokens 50] [--log FOLDER]

The log has what a session writes of a cell: a block of rounds with the times of all its tokens, its prompt and its answer, and a
verdict; ten cells a model. Each size is read in a process of its own, as `--llmci-resume` reads it, and then every cell is asked
for; what is told is how far the peak of the process's memory rises above what it had with everything imported, and the CPU time.
A tenth of the cells and all of them, so that what is kept of each can be seen. Run it from the root of the repository.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.process_cost import MAXRSS_UNIT_BYTES, RunFailedError, clean_environment

if TYPE_CHECKING:
    from pytest_llmci.records import GenerationSettings, Json

ROOT: Final = Path(__file__).resolve().parents[1]
PROMPTS: Final = 10
MACHINE: Final[dict[str, Json]] = {"machine": "x86_64", "cpu_model": "A", "cores_allowed": 2, "kernel": "6.1.0"}
OUTPUT: Final = "izizmhwaropszibf i mkp nnhf zitglzii  pxbbmrodof r"


def names(number: int) -> tuple[str, str, str]:
    """Model, cell and test."""
    model = f"m{number // PROMPTS:04}"
    cell = f"{model}-p{number % PROMPTS}"
    return model, cell, f"inference::{cell}"


def write(folder: Path, cells: int, rounds: int, tokens: int) -> Path:
    """A run folder with that log."""
    from pytest_llmci.measure import builtin_metrics
    from pytest_llmci.records import (
        CheckResult,
        HeaderRecord,
        ModelSpec,
        Prompt,
        RoundsRecord,
        VerdictRecord,
        WorkerRecord,
    )
    from pytest_llmci.store.comparability import prompt_sha256
    from pytest_llmci.store.log import LOG_NAME, LogWriter

    folder.mkdir()
    metrics = [metric.name for metric in builtin_metrics() if metric.scope == "round"]
    writer = LogWriter(folder / LOG_NAME)
    started = "2026-01-01T00:00:00.000Z"
    writer.append(
        HeaderRecord(
            schema_version=1, run_id=folder.name, started=started, version="0", command=[], settings={}, environment=MACHINE, metrics=[]
        )
    )  # fmt: skip
    for number in range(cells):
        model, cell, test = names(number)
        prompt = Prompt(id=f"p{number % PROMPTS}", text=f"Write the {number}th line of a poem about memory.")
        if number % PROMPTS == 0:
            spec = ModelSpec(alias=model, backend="echo", text=f"{model}=echo")
            writer.append(
                WorkerRecord(uid=f"w{model}", model=model, spec=spec, started=started, pid=1, isolation="worker")
            )
        writer.append(
            RoundsRecord(
                uid=f"r{number}", cell=cell, model=model, prompt_id=prompt.id, test=test, prompt=prompt.text or "",
                prompt_sha256=prompt_sha256(prompt), origin="measured", worker=f"w{model}", block=0, first_round=0, started=started,
                generation=_generation(), n=rounds, values={name: [10_000_000 + number] * rounds for name in metrics}, reasons={},
                token_ns=[[40_000_000 + number + token for token in range(tokens)] for _ in range(rounds)], outputs=[OUTPUT],
                output_of_round=[0] * rounds, md5=["0" * 32], output_sha256=[sha256(OUTPUT.encode()).hexdigest()],
                finish_reasons=["length"] * rounds, noisy=[""] * rounds,
            )
        )  # fmt: skip
        checks = [CheckResult(name="valid", passed=True, message="the output is valid")]
        writer.append(
            VerdictRecord(
                uid=f"v{number}", cell=cell, model=model, prompt_id=prompt.id, test=test, verdict="pass", checks=checks
            )
        )
    writer.close(0)
    return folder


def peak_bytes() -> int:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT_BYTES


def _generation() -> GenerationSettings:
    from pytest_llmci.records import GenerationSettings

    return GenerationSettings()


def look_up(folder: Path, cells: int, rounds: int) -> dict[str, float]:
    """Read the run and ask for each cell, in this process."""
    from pytest_llmci.backends import register
    from pytest_llmci.engine.resume import EarlierRun
    from pytest_llmci.engine.schedule import CellPlan
    from pytest_llmci.records import Cell, ModelSpec, Prompt
    from pytest_llmci.registry import Registry

    registry = Registry()
    register(registry)
    before, began = peak_bytes(), time.process_time()
    run = EarlierRun(folder, "--llmci-resume", registry, MACHINE)
    read_s, read = time.process_time() - began, peak_bytes()
    plan = CellPlan(rounds=rounds, max_rounds=rounds, warmup=1, block=rounds, generation=_generation())
    for number in range(cells):
        model, cell, test = names(number)
        prompt = Prompt(id=f"p{number % PROMPTS}", text=f"Write the {number}th line of a poem about memory.")
        asked = Cell(id=cell, model=ModelSpec(alias=model, backend="echo", text=f"{model}=echo"), prompt=prompt)
        if not run.holds(test, asked, plan):
            raise RunFailedError(f"{cell} was not found")
    total_s = time.process_time() - began
    return {"read": read - before, "total": peak_bytes() - before, "read_s": read_s, "look_up_s": total_s - read_s}


def in_child(folder: Path, cells: int, rounds: int) -> dict[str, float]:
    """The same in a process of its own.

    :raises RunFailedError: if it failed.
    """
    command = [
        sys.executable,
        "-m",
        "benchmarks.resume_memory",
        "--log",
        str(folder),
        "--cells",
        str(cells),
        "--rounds",
        str(rounds),
    ]
    environment = clean_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailedError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=14_720)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--log", type=Path, help="read that run in this process, and print what it took as JSON")
    options = parser.parse_args()
    if options.log:
        print(json.dumps(look_up(options.log, options.cells, options.rounds)))
        return 0
    with tempfile.TemporaryDirectory(prefix="llmci-resume-") as name:
        for cells in (options.cells // 10, options.cells):
            folder = write(Path(name) / f"20260101T000000Z-{cells:06}", cells, options.rounds, options.tokens)
            size = (folder / "log.jsonl").stat().st_size
            found = in_child(folder, cells, options.rounds)
            print(
                f"{cells:,} cells, a log of {size / 1e6:.1f} MB: {found['total'] / 1e6:.1f} MB more at the peak"
                f" ({found['read'] / 1e6:.1f} MB when it was read), {found['read_s']:.1f} s of CPU to read it,"
                f" {found['look_up_s']:.1f} s to find every cell"
            )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RunFailedError as error:
        sys.exit(f"resume_memory: {error}")
