"""What a replay costs: 5 models x 10 prompts x 20 rounds, checks and budgets judged again. CPU seconds of the whole process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ",".join(f"m{number}=echo+tokens={20 + number}" for number in range(5))
REPEATS = 5


def cpu_seconds(folder: Path, *arguments: str) -> float:
    """CPU time, user and system, of one pytest session and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *arguments]
    subprocess.run(
        command,
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "LLMCI_LOCK_FILE": str(folder / "lock")},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="ascii")
        budget = "--llmci-budget=latency.median <= 1s"
        run = cpu_seconds(folder, f"--llm-models={MODELS}", "--llmci-suite=inference", "--llmci-rounds=20", budget)
        replays, empty = [], []
        for _ in range(REPEATS):  # in turn, as the machine may be busy
            replays.append(cpu_seconds(folder, "--llmci-replay=latest", budget))
            empty.append(cpu_seconds(folder, "test_nothing.py"))
    print(f"run with echo models: {run:.2f} s of CPU")
    print(f"replay of 5 x 10 x 20: {min(replays):.2f} s (median {sorted(replays)[REPEATS // 2]:.2f} s)")
    print(f"pytest with one empty test: {min(empty):.2f} s (median {sorted(empty)[REPEATS // 2]:.2f} s)")


if __name__ == "__main__":
    main()
