"""``llmci doctor`` as a user calls it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installed import needs_models
from timing import on_real_time

from pytest_llmci.cli.main import main
from pytest_llmci.measure import builtin_metrics, region
from pytest_llmci.measure.cpu import cpu_time_ns

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="most truths need Linux to be planted"), on_real_time]


def doctor(
    folder: Path, *arguments: str, before: tuple[str, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LLMCI_LOCK_FILE": str(folder / "lock"), **variables,
    }  # fmt: skip
    command = [*before, sys.executable, "-m", "pytest_llmci.cli.main", "doctor", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_quick_look_finds_the_instruments_right(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--quick", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  ok           peak_rss") for line in lines)
    for metric in builtin_metrics():
        assert metric.name in done.stdout
    assert "not shown: left out by --quick" in lines
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("lock")] == []


def test_json_can_be_read_by_programs(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--quick", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert {finding["state"] for finding in found["findings"]} <= {"ok", "disturbed", "not measured", "not planted"}
    assert {finding["metric"] for finding in found["findings"]} == {metric.name for metric in builtin_metrics()}


def test_an_instrument_that_is_wrong_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(region, "cpu_time_ns", lambda before, after: cpu_time_ns(before, after) // 2)
    monkeypatch.setenv("LLMCI_LOCK_FILE", str(tmp_path / "lock"))
    assert main(["doctor", "--quick"]) == 1
    shown = capsys.readouterr().out
    assert "  off          cpu_time" in shown
    assert "Do not trust cpu_time, cpu_cores_used, cpu_percent on this machine" in shown


def test_without_proc_what_cannot_be_measured_is_told_with_its_reason(tmp_path: Path) -> None:
    before = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*before, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to mount in a namespace of its own")
    done = doctor(tmp_path, "--quick", "--json", before=before)
    assert done.stderr == ""
    found = {finding["metric"]: finding for finding in json.loads(done.stdout)["findings"]}
    for metric in ("peak_rss", "rss_growth", "children_peak_rss", "run_delay", "cpu_pressure"):
        assert (found[metric]["state"], bool(found[metric]["reason"])) == ("not measured", True)
    assert found["ttft"]["reported"] > 0


@needs_models
@pytest.mark.slow
def test_the_whole_check_loads_a_model_and_shows_the_trap(tmp_path: Path) -> None:
    done = doctor(tmp_path)
    assert done.returncode == 0
    assert "beside 2 busy processes" in done.stdout or "one core only" in done.stdout
    assert any(line.startswith("  ok           model_footprint") for line in done.stdout.splitlines())
