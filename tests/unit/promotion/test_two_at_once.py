"""Two real processes that promote under one name at the same moment, round after round."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

import rival
from mlflow_stores import fresh_store
from registered import log_run
from stored_runs import simple, write_run

from pytest_llmci.promotion.turn import PREFIX
from pytest_llmci.promotion.versions import RegisteredModel, Version
from pytest_llmci.tracking.connection import connect

Told = dict[str, Any]


def race(tmp_path: Path, uri: str, rounds: int, factors: tuple[float, float]) -> tuple[list[Told], list[Told]]:
    """What each process tells of each round, once both have ended."""
    connection = connect(uri, "test")
    folders = [
        write_run(tmp_path, number, simple(seed=number, factor=factor)) for number, factor in enumerate(factors, 1)
    ]
    for folder in folders:
        log_run(connection, folder)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    names = ("one", "two")
    processes = [
        subprocess.Popen(
            [sys.executable, rival.__file__, uri, str(folders[side]), str(tmp_path / "cache"), str(meeting), names[side], names[1 - side], str(rounds)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for side in (0, 1)
    ]  # fmt: skip
    told = []
    for process in processes:
        out, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        told.append([json.loads(line) for line in out.splitlines()])
    return told[0], told[1]


def check(uri: str, number: int, told: tuple[Told, Told]) -> str:
    """One winner and a history in which every step follows from the one before; returns how it went."""
    shelf = RegisteredModel(connect(uri, "test"), f"model-{number}", "test").require()
    assert not [key for key in shelf.tags if key.startswith(PREFIX)]
    assert not [each for each in told if each["outcome"] == "error"], told
    assert sorted(each["version"] for each in told) == [version.number for version in shelf.versions] == [1, 2]
    first = next(each for each in told if each["before"] is None)
    second = told[1 - told.index(first)]
    assert (
        first["outcome"] == "promoted" and second["before"] == first["version"]
    )  # the second one saw what the first one did
    holder = second if second["outcome"] == "promoted" else first
    assert shelf.aliases == {"champion": holder["version"]}
    assert holder is told[1]  # the faster one, whoever came first
    approved = shelf.approved("champion")
    assert [version.number for version in approved] == [
        each["version"] for each in (first, second) if each["outcome"] == "promoted"
    ]
    assert [version.place("champion") for version in approved] == list(range(1, len(approved) + 1))
    seen = shelf.version(second["version"])
    assert isinstance(seen, Version) and seen.tags["llmci.champion.against"] == str(first["version"])
    assert len(shelf.tags["llmci.champion.history"].splitlines()) == 2
    return f"{told.index(first)} first, then {second['outcome']}"


def held(tmp_path: Path, uri: str, rounds: int) -> None:
    told = race(tmp_path, uri, rounds, (1.6, 0.5))
    went = [check(uri, number, pair) for number, pair in enumerate(zip(*told, strict=True))]
    assert len(went) == rounds and set(went) <= {"0 first, then promoted", "1 first, then refused"}


def test_two_promotions_at_once_leave_one_winner_and_a_consistent_history(tmp_path: Path) -> None:
    held(tmp_path, fresh_store(tmp_path / "store"), 5)


@pytest.mark.slow
def test_many_times(tmp_path: Path) -> None:
    held(tmp_path, fresh_store(tmp_path / "store"), 40)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real server on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = fresh_store(tmp_path / "server")
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts"),
        "--host", "127.0.0.1", "--port", str(port), "--workers", "2",
    ]  # fmt: skip
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True, cwd=tmp_path)
    uri = f"http://127.0.0.1:{port}"
    try:
        begun = time.monotonic()
        while not _healthy(uri):
            assert process.poll() is None and time.monotonic() - begun < 180, (tmp_path / "server.log").read_text()
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def _healthy(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.slow
def test_many_times_on_a_server(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine that runs the tests may be a busy one
    held(tmp_path, server, 25)
