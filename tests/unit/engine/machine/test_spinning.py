from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_llmci.engine.machine import spinning
from pytest_llmci.engine.machine.spinning import SETTINGS, show_trap
from pytest_llmci.records import Missing

TORCHLESS = """
import os, sys
answers = iter({answers!r})
print("ready", flush=True)
for _ in sys.stdin:
    print(next(answers), flush=True)
"""
TELLING = """
import os, sys
print("ready", flush=True)
for _ in sys.stdin:
    spins = os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    print(int(sys.argv[2]) + 10 * spins + 100 * ("GOMP_SPINCOUNT" in os.environ), flush=True)
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="binds processes to cores")


@pytest.fixture(autouse=True)
def two_cores_and_a_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is here: the child's script needs no torch, and cores may be named twice."""
    cpus = sorted(os.sched_getaffinity(0))
    monkeypatch.setattr(spinning, "find_spec", lambda name: object())
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: (cpus * 2)[:2] if pid == 0 else cpus)
    monkeypatch.setattr(spinning, "RUN_LIMIT_S", 5.0)


def test_each_setting_is_timed_without_and_with_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "_SCRIPT", TORCHLESS.format(answers=[0.25, 0.5]))
    timings = show_trap()
    assert not isinstance(timings, Missing)
    assert [(timing.threads, timing.wait_policy) for timing in timings] == list(SETTINGS)
    assert {(timing.alone_s, timing.busy_s, timing.stuck) for timing in timings} == {(0.25, 0.5, False)}


def test_the_settings_reach_the_process_and_nothing_else_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setattr(spinning, "_SCRIPT", TELLING)
    timings = show_trap()
    assert not isinstance(timings, Missing)
    assert [timing.alone_s for timing in timings] == [1, 2, 12]


def test_one_that_gets_stuck_beside_neighbours_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "RUN_LIMIT_S", 0.5)
    monkeypatch.setattr(spinning, "_SCRIPT", "import time; print('ready'); print(0.25, flush=True); time.sleep(60)")
    timings = show_trap()
    assert not isinstance(timings, Missing)
    assert {(timing.alone_s, timing.busy_s, timing.stuck) for timing in timings} == {(0.25, 0.5, True)}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit(1)", "torch was not imported"),
        ("print('ready'); print('nonsense', flush=True); input()", "could not be timed: could not convert"),
    ],
)
def test_a_child_that_fails_is_a_reason(monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    monkeypatch.setattr(spinning, "_SCRIPT", script)
    found = show_trap()
    assert isinstance(found, Missing) and reason in found.reason


def test_without_torch_there_is_nothing_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "find_spec", lambda name: None)
    found = show_trap()
    assert isinstance(found, Missing) and "torch is not installed" in found.reason


def test_one_core_is_no_place_for_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    found = show_trap()
    assert isinstance(found, Missing) and "one core only" in found.reason


def test_no_child_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "_SCRIPT", "import os; print(os.getpid(), flush=True); input()")
    seen: list[str] = []
    line = spinning._line

    def note(child: subprocess.Popen[bytes], limit_s: float) -> str:
        seen.append(line(child, limit_s))
        return ""

    monkeypatch.setattr(spinning, "_line", note)
    assert isinstance(show_trap(), Missing)
    assert not Path(f"/proc/{seen[0]}").exists()
