"""What it costs to merge the shards of 14,720 cells and to judge the whole.

    python -m benchmarks.merge_shards [--shards 64] [--models 1472] [--rounds 1] [--keep DIR] [--check]

Every shard is a real session of its own, `pytest --llmci-shard=I/N`, of 1,472 `echo` models x the ten packaged prompts, each
cell with one round, measured inline; making them is not what is measured, and takes minutes. Then, each in a process of its own:
`llmci merge` of all of them, which proves every part, writes the merged log, the derived files, the manifest and `latest`, and
decides coverage; `llmci compare` of the merged run with itself; and `llmci verify`. Wall time, CPU time and peak memory are those
of the process. Run it from the root of the repository, with the dependencies installed, on a Linux or macOS machine with little
else to do. With --check the exit status is 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.pairs import judged
from benchmarks.process_cost import RunFailedError, Side, clean_environment, median_peak_bytes, run

ROOT = Path(__file__).resolve().parents[1]
WALL_LIMIT_S = 30.0
SESSION = (
    "-p", "no:cacheprovider", "-q", "--llmci-suite=inference", "--llmci-isolation=inline", "--llmci-rounds=1", "--llmci-warmup=0",
)  # fmt: skip


def environment() -> dict[str, str]:
    """Of every process: this checkout, and nothing of pytest's or ours."""
    return {**clean_environment(), "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def make_shards(folder: Path, models: int, shards: int) -> list[Path]:
    """Run the sessions; their run folders."""
    (folder / "models.yaml").write_text("".join(f"- m{number:04}=echo\n" for number in range(models)), "utf-8")
    found = []
    for index in range(1, shards + 1):
        output = folder / "parts" / str(index)
        if not output.is_dir():
            command = (
                sys.executable, "-m", "pytest", "-p", "pytest_llmci.plugin", *SESSION, "--llm-models=@models.yaml",
                f"--llmci-shard={index}/{shards}", f"--llmci-output={output}",
            )  # fmt: skip
            began = time.monotonic()
            run(
                Side(name=f"shard {index}", command=command, cwd=folder, environment=environment(), expected=" passed"),
                folder / "out.txt",
            )
            print(f"shard {index} of {shards}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        found.append(next(path for path in output.glob("2*") if path.is_dir()))
    return found


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--models", type=int, default=1472)
    parser.add_argument("--keep", type=Path, help="make the shards there, and take those that are there already")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as made:
        folder = (options.keep or Path(made)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        parts = make_shards(folder, options.models, options.shards)
        llmci = (sys.executable, "-m", "pytest_llmci.cli.main")
        output = f"--output={Path(made).resolve() / 'merged'}"
        total = 0.0
        for name, expected, command in (
            ("merge", f"merged {options.shards} shards of {options.shards}", ("merge", *map(str, parts), output)),
            ("compare", "", ("compare", "latest", "latest", output)),
            ("verify", "ok: ", ("verify", "latest", output)),
        ):
            side = Side(name=name, command=(*llmci, *command), cwd=folder, environment=environment(), expected=expected)
            began = time.monotonic()
            cost = run(side, folder / "out.txt")
            wall = time.monotonic() - began
            total += wall if name != "verify" else 0.0
            print(
                f"{name:8}  {wall:6.1f} s wall  {cost.cpu_s:6.1f} s CPU  {median_peak_bytes([cost]) / 1e6:6.0f} MB peak"
            )
        log = Path(made).resolve() / "merged" / "latest" / "log.jsonl"
        with log.open(encoding="utf-8") as stream:
            cells = sum('"type":"verdict"' in line[:110] for line in stream)
        settings = json.loads((log.parent / "results.json").read_text("utf-8"))["settings"]
        print(
            f"{cells:,} cells of {len(settings['merged']['parts'])} shards, a log of {log.stat().st_size / 1e6:.0f} MB"
        )
    text, met = judged("merged and judged (wall)", total, WALL_LIMIT_S, "s")
    print(text)
    return 1 if options.check and not met else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RunFailedError as error:
        sys.exit(f"merge_shards: {error}")
