from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_llmci.runner.worker_log import LONGEST_LINE, WorkerLog


def shout(text: str) -> str:
    return text.replace("secret", "******")


@pytest.fixture
def log(tmp_path: Path) -> WorkerLog:
    return WorkerLog(tmp_path / "logs" / "w.log", shout)


def test_lines_are_hidden_as_a_whole_however_they_arrive(log: WorkerLog, tmp_path: Path) -> None:
    for part in (b"first sec", b"ret\nprog\rress ", b"sec"):
        os.write(log.write_end, part)
        assert log.take()
    path = tmp_path / "logs" / "w.log"
    assert path.read_bytes() == b"first ******\nprog\r"
    os.write(log.write_end, b"ret")
    log.handed_over()
    log.drain()
    assert path.read_bytes() == b"first ******\nprog\rress ******"
    assert log.tail.endswith("ress ******")
    assert log.readable == []
    assert not log.take()


def test_nothing_to_take_is_not_waited_for(log: WorkerLog) -> None:
    assert not log.take()
    assert log.readable
    log.close()
    log.close()


def test_bytes_that_are_no_text_survive(log: WorkerLog, tmp_path: Path) -> None:
    os.write(log.write_end, b"\xff\xfe\n")
    log.handed_over()
    log.drain()
    assert (tmp_path / "logs" / "w.log").read_bytes() == b"\xff\xfe\n"


def test_without_a_file_the_last_lines_are_in_memory_alone(tmp_path: Path) -> None:
    log = WorkerLog(None, shout)
    os.write(log.write_end, b"secret words")
    log.handed_over()
    log.drain()
    assert log.tail == "****** words"
    assert list(tmp_path.iterdir()) == []


def test_a_line_without_end_is_not_kept_in_memory(log: WorkerLog, tmp_path: Path) -> None:
    for _ in range(LONGEST_LINE // 1000 + 1):
        os.write(log.write_end, b"x" * 1000)
        log.take()
    assert (tmp_path / "logs" / "w.log").stat().st_size > LONGEST_LINE
    log.handed_over()
    log.close()
