"""Whom the benchmark of the hard time limit takes for an orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")


def test_members_of_a_process_group_are_found_until_they_are_reaped(benchmark_module: ModuleType) -> None:
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        assert benchmark_module.group_members(child.pid) == [child.pid]
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert benchmark_module.group_members(child.pid) == [child.pid]  # dead, and ours to reap
    finally:
        child.kill()
        child.wait()
    assert benchmark_module.group_members(child.pid) == []
