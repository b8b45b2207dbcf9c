"""What `llmci compare` costs on two runs of 14,720 cells with 20 rounds each.

    python -m benchmarks.compare_runs [--rounds 3] [--models 1472] [--prompts 10] [--samples 20] [--tokens 50] [--check]

Two runs are generated: 1,472 models x ten prompts, each cell one block of 20 rounds with the numbers, reasons
and token times that a block of the suite holds, times drawn at random around one second, the second run of one model 30 %
slower. Then `llmci compare` is run on them in a process of its own, its result is checked, and CPU time, wall time and peak
memory of that process are taken. Run it from the root of the repository, with the dependencies installed, on a Linux or
macOS machine with little else to do. With --check the exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from benchmarks.pairs import judged
from benchmarks.process_cost import RunFailedError, Side, clean_environment, median_peak_bytes, run
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import (
    CheckResult,
    GenerationSettings,
    HeaderRecord,
    LogRecord,
    ModelSpec,
    RoundsRecord,
    VerdictRecord,
    WorkerRecord,
)
from pytest_llmci.store.environment import environment
from pytest_llmci.store.log import LOG_NAME, LogWriter

ROOT = Path(__file__).resolve().parents[1]
SLOWER = "m0003"
WALL_LIMIT_S = 10.0
PEAK_LIMIT_MB = 1024.0


ABSENT = {
    "gpu_peak_allocated": "no CUDA device is used by the model's process",
    "gpu_peak_reserved": "no CUDA device is used by the model's process",
    "gpu_utilisation": "no CUDA device is used by the model's process",
    "energy": "no energy counter: this system has no RAPL (/sys/class/powercap/intel-rapl:*)",
    "tokens_per_joule": "no energy counter: this system has no RAPL (/sys/class/powercap/intel-rapl:*)",
    "peak_rss_delta": "it is measured in a memory pass, which a budget on it or --llmci-memory=exact asks for",
}


def records(models: int, prompts: int, samples: int, tokens: int, *, seed: int, slower: str) -> Iterator[LogRecord]:
    """The lines of one run."""
    rng = random.Random(seed)
    template = block(samples, tokens, rng)
    for number in range(models):
        alias = f"m{number:04}"
        spec = ModelSpec(alias=alias, backend="tiny", text=f"{alias}=tiny")
        yield WorkerRecord(
            uid=f"w{number}", model=alias, spec=spec, started="2026-01-01T00:00:01.000Z", pid=4711, isolation="worker",
            python="3.11.7", values={"load_time": 92_684_104, "model_footprint": 790_336},
            info={"threads": 1, "cpus": None, "device": "cpu", "dtype": "float32"},
        )  # fmt: skip
        for place in range(prompts):
            yield cell_block(
                template, alias=alias, place=place, number=number, factor=1.3 if alias == slower else 1.0, rng=rng
            )
            yield VerdictRecord(
                uid=f"v{number}-{place}", cell=f"{alias}-p{place}", model=alias, prompt_id=f"p{place}", test=f"inference::{alias}-p{place}",
                verdict="pass", checks=[CheckResult(name="valid", passed=True, message="the output is valid")], rounds=samples,
            )  # fmt: skip


def block(samples: int, tokens: int, rng: random.Random) -> RoundsRecord:
    """One block with every number that a round of the suite has; those that are compared are drawn anew for each cell."""
    columns = [metric.name for metric in builtin_metrics() if metric.scope == "round" and metric.name not in ABSENT]
    text = "izizmhwaropszibf i mkp nnhf zitglzii  pxbbmrodof r"
    return RoundsRecord(
        uid="", cell="", model="", prompt_id="", prompt="Write a Python function that returns the n-th Fibonacci number.",
        prompt_sha256="", test="", origin="measured", worker="", block=0, first_round=0, started="2026-01-01T00:00:02.000Z",
        generation=GenerationSettings(max_new_tokens=tokens, fixed_length=True), n=samples,
        values={name: [rng.randrange(10**7, 10**8) for _ in range(samples)] for name in columns}, reasons=ABSENT,
        token_ns=[[rng.randrange(2 * 10**6, 4 * 10**6) for _ in range(tokens)] for _ in range(samples)],
        outputs=[text], output_of_round=[0] * samples, md5=["0" * 32], output_sha256=[sha256(text.encode()).hexdigest()],
        finish_reasons=["length"] * samples, noisy=[""] * samples, token_source="tokenizer", memory_method="hwm",
    )  # fmt: skip


def cell_block(
    template: RoundsRecord, *, alias: str, place: int, number: int, factor: float, rng: random.Random
) -> RoundsRecord:
    """The block of one cell."""
    samples = template.n
    net = [round(1e9 * factor * rng.gauss(1, 0.005)) for _ in range(samples)]
    drawn: dict[str, list[float | None]] = {
        "latency": [round(value * 1.05) for value in net],
        "net_time": list(net),
        "cpu_time": [round(value * 0.98) for value in net],
        "peak_rss": [409_608_192 + 4096 * rng.randrange(5) for _ in range(samples)],
        "output_tokens": [template.generation.max_new_tokens] * samples,
    }
    return replace(
        template, uid=f"r{number}-{place}", cell=f"{alias}-p{place}", model=alias, prompt_id=f"p{place}",
        prompt_sha256=sha256(str(place).encode()).hexdigest(), test=f"inference::{alias}-p{place}", worker=f"w{number}",
        values={**template.values, **drawn},
    )  # fmt: skip


def write_run(folder: Path, lines: Iterator[LogRecord], run_id: str) -> int:
    """A run folder; returns the bytes of its log."""
    folder.mkdir(parents=True)
    writer = LogWriter(folder / LOG_NAME)
    writer.append(
        HeaderRecord(
            schema_version=1, run_id=run_id, started=f"{run_id[:4]}-01-01T00:00:00.000Z", version="0", command=["pytest"], settings={},
            environment=environment(), metrics=list(builtin_metrics()),
        )
    )  # fmt: skip
    for line in lines:
        writer.append(line)
    writer.close(0)
    return (folder / LOG_NAME).stat().st_size


def check_result(output: Path, cells: int) -> None:
    """Make sure that what was planted was found and nothing else was, as a comparison of nothing is quick.

    :raises RunFailedError: if it was not so.
    """
    found = json.loads(output.read_text(encoding="utf-8"))
    regressed = {cell["model"] for cell in found["cells"] if cell["verdict"] == "regressed"}
    regressed |= {result["model"] for result in found["models"] if result["verdict"] == "regressed"}
    if len(found["cells"]) != cells or not regressed <= {SLOWER}:
        raise RunFailedError(
            f"{len(found['cells'])} cells, regressed: {sorted(regressed)}; expected {cells} and at most {SLOWER}."
        )


def lines(arguments: argparse.Namespace, seed: int, slower: str) -> Iterator[LogRecord]:
    """The lines of one run as the command line wants it."""
    of = arguments
    return records(of.models, of.prompts, of.samples, of.tokens, seed=seed, slower=slower)


def measure(folder: Path, arguments: argparse.Namespace) -> bool:
    """Generate both runs and compare them; whether the targets are met.

    :raises RunFailedError: if the comparison did not find what was planted.
    """
    cells = arguments.models * arguments.prompts
    sizes = [
        write_run(folder / run_id, lines(arguments, number, slower), run_id)
        for number, (run_id, slower) in enumerate((("2026-before", ""), ("2027-now", SLOWER)))
    ]
    print(
        f"{arguments.models:,} models x {arguments.prompts:,} prompts x {arguments.samples} rounds x {arguments.tokens} tokens:"
        f" logs of {sizes[0] / 1e6:.0f} MB a side"
    )
    base = [
        sys.executable,
        "-m",
        "pytest_llmci.cli.main",
        "compare",
        str(folder / "2026-before"),
        str(folder / "2027-now"),
    ]
    clean = clean_environment(PYTHONPATH=str(ROOT))
    side = Side(name="llmci compare", command=[*base, "--json"], cwd=folder, environment=clean, expected='"verdict"')
    output, met = folder / "output.json", True
    run(side, output)
    check_result(output, cells)
    costs, walls = [], []
    for _ in range(arguments.rounds):
        begin = time.perf_counter()
        costs.append(run(side, output))
        walls.append(time.perf_counter() - begin)
    print(f"  CPU time {statistics.median(cost.cpu_s for cost in costs):.2f} s")
    for what, value, limit, unit in (
        ("wall time", statistics.median(walls), WALL_LIMIT_S, "s"),
        ("peak memory", median_peak_bytes(costs) / 1e6, PEAK_LIMIT_MB, "MB"),
    ):
        line, is_met = judged(what, value, limit, unit)
        print(line)
        met = met and is_met
    return met


def main() -> int:
    """The command line; exit status 2 if something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (default: 3)")
    parser.add_argument("--models", type=int, default=1472, help="models (default: 1472)")
    parser.add_argument("--prompts", type=int, default=10, help="cells of each model (default: 10)")
    parser.add_argument("--samples", type=int, default=20, help="rounds of each cell (default: 20)")
    parser.add_argument("--tokens", type=int, default=50, help="tokens of each answer (default: 50)")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="llmci-compare-") as name:
            met = measure(Path(name), arguments)
    except RunFailedError as error:
        print(f"compare_runs: {error}", file=sys.stderr)
        return 2
    return 1 if arguments.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
