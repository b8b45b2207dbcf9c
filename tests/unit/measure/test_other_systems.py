from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pytest_llmci.measure.memory import LifetimePeak, MemoryFiles, MemoryPaths

_WINDOWS = """
import argparse, datetime, difflib, importlib, json, logging, mmap, pathlib, threading, typing
import os, sys
sys.platform = "win32"
sys.modules["resource"] = sys.modules["fcntl"] = None
for name in ("pread", "register_at_fork", "sched_getaffinity", "sysconf", "posix_spawn", "uname", "O_CLOEXEC"):
    delattr(os, name)
for name in ("MAP_PRIVATE", "MAP_ANONYMOUS"):
    delattr(mmap, name)
from pytest_llmci.measure.memory import MemoryPaths
from pytest_llmci.measure.profile import profile
from pytest_llmci.measure.region import Meter
meter = Meter(MemoryPaths(statm="/no/statm", status="/no/status", clear_refs="/no/clear_refs"))
end = 0.05
with profile(meter=meter) as measured:
    import time
    while time.process_time() < end + 0.2:
        pass
print(json.dumps(measured.to_json()))
"""


def test_without_proc_and_getrusage_the_times_remain_and_the_rest_says_why() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", _WINDOWS]
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert set(found["values"]) == {"wall_time", "cpu_time", "cpu_cores_used", "cpu_percent"}
    assert found["values"]["cpu_time"] > 10_000_000
    assert found["memory_method"] == ""
    assert found["reasons"]["involuntary_switches"] == "this system has no getrusage"
    assert "does not tell a process's peak memory" in found["reasons"]["peak_rss"]
    assert all(found["reasons"].values())


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_the_unit_of_ru_maxrss_is_that_of_the_system(platform: str, unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files = MemoryFiles(MemoryPaths(statm="/no/statm", status="/no/status"))
    monkeypatch.setattr(sys, "platform", platform)
    assert LifetimePeak(files).peak(5_000) == 5_000 * unit


def test_an_unknown_mark_on_linux_is_not_replaced_by_one_that_may_be_the_parents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = MemoryFiles(MemoryPaths(status="/no/status"))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(OSError, match="/no/status cannot be read"):
        LifetimePeak(files)
    files.close()
