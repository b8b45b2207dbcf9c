"""``llmci compare`` and ``llmci history`` on runs that real sessions left."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench import Bench
from timing import on_real_time

QUICK, SLOW = "echo=echo+itl=1ms", "echo=echo+itl=4ms"
SHORT = ("--llmci-max-new-tokens=10", "--llmci-rounds=5")


def llmci(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_llmci.cli.main", *arguments]
    return subprocess.run(command, cwd=bench.path, capture_output=True, text=True, check=False)


@on_real_time
def test_a_slower_session_is_found_and_the_same_one_passes(bench: Bench) -> None:
    bench.suite(QUICK, *SHORT)
    bench.suite(SLOW, *SHORT)
    found = llmci(bench, "compare", "latest~1", "latest")
    assert (found.returncode, found.stderr) == (1, "")
    assert "REGRESSED" in found.stdout
    assert 'changed     options: {"itl": "1ms"} -> {"itl": "4ms"}' in found.stdout
    assert llmci(bench, "compare", "latest", "latest~1").returncode == 0  # a gain
    assert llmci(bench, "compare", "latest", "latest").returncode == 0


def test_other_lengths_for_all_cells_are_one_error_line(bench: Bench) -> None:
    bench.suite(QUICK, *SHORT)
    bench.suite(QUICK, "--llmci-max-new-tokens=20", "--llmci-rounds=5")
    found = llmci(bench, "compare", "latest")
    assert (found.returncode, found.stdout) == (4, "")
    assert "all 2 common cells" in found.stderr and "differ in max_new_tokens: 10 -> 20" in found.stderr
    assert found.stderr.count("\n") == 1


def test_an_interleaved_session_is_a_run_like_any_other(bench: Bench) -> None:
    bench.suite(QUICK, *SHORT)
    bench.suite(QUICK, f"--llmci-versus={SLOW.removeprefix('echo=')}", *SHORT)
    found = llmci(bench, "compare", "latest", "--json")
    data: Any = json.loads(found.stdout)
    assert {cell["cell"] for cell in data["cells"]} == {"echo-first", "echo-second"}
    assert data["verdict"] in ("pass", "inconclusive")  # its reference, four times as slow, is not taken for it


@on_real_time
def test_history_lists_sessions_and_gates_the_newest(bench: Bench) -> None:
    bench.suite(QUICK, *SHORT)
    bench.suite(SLOW, *SHORT)
    table = llmci(bench, "history")
    assert table.returncode == 0
    assert "2 comparable runs: change points need 12" in " ".join(table.stdout.split())
    gate = llmci(bench, "history", "--gate")
    assert gate.returncode == 1
    assert "To go back to the release:" in gate.stdout
    assert "--llm-models=echo=echo+itl=1ms" in gate.stdout
