"""The regression gate end to end: whole sessions of a real model against itself, unchanged and with a planted regression.

    python -m benchmarks.gate_sessions [--sessions 10] [--share 8] [--tokens 50]

Each session is ``pytest --llm-models=... --llmci-versus=smollm2`` over two prompts. The planted one is slower by ``--share``
per cent a token. Sessions of both kinds alternate. Printed: how each ended, in how many pairs of processes, and how long it took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFTEST = """
def pytest_llmci_register(registry):
    registry.add("backend", "delayed", "benchmarks.delayed:DelayedSmolLM2")
"""
PROMPTS = "tcp-udp or haiku-sea"


def session(folder: Path, model: str, tokens: int) -> dict[str, Any]:
    """Run one; its exit status, pairs, seconds and verdicts."""
    log = folder / "llmci-results/latest/log.jsonl"
    before, began = log.read_text("utf-8") if log.exists() else "", time.monotonic()
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", f"--llm-models=smollm2={model}", "--llmci-versus=smollm2", "--llmci-suite=inference",
            f"--llmci-max-new-tokens={tokens}", "-k", PROMPTS, "-p", "no:cacheprovider",
        ],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    after = log.read_text("utf-8") if log.exists() else ""
    if done.returncode not in (0, 1) or after == before:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    lines = [json.loads(line) for line in after.splitlines()]
    results = [result for line in lines if line["type"] in ("verdict", "gate") for result in line["comparisons"]]
    times = [result for result in results if result["mode"] == "interleaved"]
    return {
        "exit": done.returncode,
        "pairs": 1 + max(line["pair"] for line in lines if line["type"] == "worker"),
        "seconds": seconds,
        "changes": [result["change"] for result in times],
        "undecided": sum(result["verdict"] == "inconclusive" for result in times),
    }


def main() -> None:
    """Alternate both kinds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--share", type=float, default=8.0, help="per cent")
    parser.add_argument("--tokens", type=int, default=50)
    given = parser.parse_args()
    kinds = {"unchanged": "smollm2", f"+{given.share:g} % a token": f"delayed:{given.share:g}"}
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "conftest.py").write_text(f"import sys\n\nsys.path.insert(0, {str(ROOT)!r})\n{CONFTEST}", "utf-8")
        for number in range(given.sessions):
            for kind, model in kinds.items():
                one = session(folder, model, given.tokens)
                found[kind].append(one)
                verdict = "failed" if one["exit"] else "passed"
                changes = ", ".join(f"{100 * change:+.1f}" for change in one["changes"])
                print(
                    f"{number + 1:2} {kind:16} {verdict:6} {one['pairs']} pairs {one['seconds']:5.0f} s  {changes} %",
                    flush=True,
                )
    print()
    for kind, sessions in found.items():
        failed = sum(bool(one["exit"]) for one in sessions)
        pairs = sum(one["pairs"] for one in sessions) / len(sessions)
        undecided = sum(bool(one["undecided"]) and not one["exit"] for one in sessions)
        print(f"{kind:16} {failed} of {len(sessions)} failed, {undecided} undecided, {pairs:.1f} pairs on average")


if __name__ == "__main__":
    main()
