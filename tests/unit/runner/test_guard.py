from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import PATIENCE_S

import pytest_llmci
from pytest_llmci.runner.guard import Guard

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell and process groups")
SLEEPER = ["sleep", "600"]


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes, each in a group of its own."""
    started = [subprocess.Popen(SLEEPER, start_new_session=True) for _ in range(2)]
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_what_is_still_listed_is_killed_and_what_was_dropped_lives(sleepers: list[subprocess.Popen[bytes]]) -> None:
    guard = Guard()
    for process in sleepers:
        guard.add(process.pid)
    guard.drop(sleepers[0].pid)
    guard.close()
    assert sleepers[1].wait(PATIENCE_S) == -signal.SIGKILL
    assert sleepers[0].poll() is None


def test_a_number_that_ends_like_a_dropped_one_stays_listed(sleepers: list[subprocess.Popen[bytes]]) -> None:
    guard = Guard()
    guard.add(sleepers[0].pid)
    guard.drop(int(str(sleepers[0].pid)[1:]))
    guard.close()
    assert sleepers[0].wait(PATIENCE_S) == -signal.SIGKILL


def test_without_anything_listed_no_shell_is_started() -> None:
    guard = Guard()
    guard.drop(1)
    guard.close()
    assert guard._shell is None


def test_nobody_survives_a_killed_parent(sleepers: list[subprocess.Popen[bytes]]) -> None:
    code = (
        "import os, signal, sys; sys.path.append(sys.argv[1]); from pytest_llmci.runner.guard import Guard;"
        "Guard().add(int(sys.argv[2])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(pytest_llmci.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code, str(root), str(sleepers[0].pid)], check=False)
    assert sleepers[0].wait(PATIENCE_S) == -signal.SIGKILL


def test_a_killed_shell_disturbs_nobody(sleepers: list[subprocess.Popen[bytes]]) -> None:
    guard = Guard()
    guard.add(sleepers[0].pid)
    shell = guard._shell
    assert shell is not None
    shell.kill()
    shell.wait()
    guard.drop(sleepers[0].pid)
    guard.close()
    assert sleepers[0].poll() is None
    assert shell.stdin is not None
    shell.stdin.close()


def test_a_forked_child_does_not_speak_for_its_parent(
    sleepers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard()
    guard.add(sleepers[0].pid)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        guard.drop(sleepers[0].pid)
    guard.close()
    assert sleepers[0].wait(PATIENCE_S) == -signal.SIGKILL
