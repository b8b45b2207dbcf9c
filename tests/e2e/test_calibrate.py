"""``llmci calibrate`` as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from timing import on_real_time

pytestmark = on_real_time


def calibrate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LLMCI_LOCK_FILE": str(folder / "lock"),
        "LLMCI_CACHE_DIR": str(folder / "cache"),
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest_llmci.cli.main", "calibrate", "--max-new-tokens=4", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_two_sessions_of_a_scripted_model(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.llmci]\nrounds = 50\nmax_rounds = 50\nbudget = ["latency < 1ns"]\n')
    done = calibrate(tmp_path, "--model=slow=echo+ttft=60ms", "--sessions=2", "--rounds=4", "--limit=1", "--json")
    assert done.returncode == 0, done.stderr
    assert "session 2 of 2 runs; about" in done.stderr
    found = json.loads(done.stdout)
    assert [session["complete"] for session in found["sessions"]] == [True, True], (
        "settings of the project do not count"
    )
    assert [session["pairs"] for session in found["sessions"]] == [2, 2]
    latency = next(each["noise"] for each in found["noise"] if each["metric"] == "latency")
    assert latency["ratio"]["freedom"] == 2 * (2 + 0) and latency["session"]["freedom"] == 1
    assert found["visible"] and found["judged"] == 2
    (kept,) = (tmp_path / "cache/calibration").iterdir()
    assert json.loads(kept.read_text()) == found
    assert not (tmp_path / "llmci-results").exists()


def test_a_model_that_there_is_not(tmp_path: Path) -> None:
    done = calibrate(tmp_path, "--model=nosuch:x")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("llmci: error: the first session did not measure: --llm-models: ")
    assert "Traceback" not in done.stderr
