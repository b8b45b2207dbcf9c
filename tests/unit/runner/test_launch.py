from __future__ import annotations

import tomllib
from pathlib import Path

from pytest_llmci.runner.launch import OLDEST_PYTHON, THREAD_VARIABLES, worker_environment


def test_the_oldest_interpreter_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"].startswith(f">={'.'.join(map(str, OLDEST_PYTHON))}")


def test_threads_are_set_for_every_library_and_auto_leaves_them() -> None:
    base = {"OMP_NUM_THREADS": "8", "HOME": "/h"}
    two, auto = worker_environment(base, 2), worker_environment(base, 0)
    assert {two[name] for name in THREAD_VARIABLES} == {"2"}
    assert auto["OMP_NUM_THREADS"] == "8" and "MKL_NUM_THREADS" not in auto
    assert two["OMP_WAIT_POLICY"] == "PASSIVE" and two["HOME"] == "/h"
    assert base == {"OMP_NUM_THREADS": "8", "HOME": "/h"}


def test_what_the_user_set_wins_over_our_defaults() -> None:
    assert worker_environment({"OMP_WAIT_POLICY": "ACTIVE"}, 1)["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_key_that_signs_runs_stays_with_us() -> None:
    assert "LLMCI_SIGNING_KEY" not in worker_environment({"LLMCI_SIGNING_KEY": "secret", "HOME": "/h"}, 1)
