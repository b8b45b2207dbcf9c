from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from log_lines import HAS_LOCKS, lines_of, run_script
from sample_run import header, rounds, verdict

from pytest_llmci.errors import StoreError
from pytest_llmci.store.log import LogWriter, is_live, read_log
from pytest_llmci.store.verify import verify_log


class FullDisk:
    """Takes a number of bytes, then has no room."""

    def __init__(self, room: int, write: Callable[[int, Any], int]) -> None:
        self.room, self.write = room, write

    def __call__(self, fd: int, data: Any) -> int:
        taken = bytes(data)[: self.room]
        self.room -= len(taken)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.write(fd, taken)


def test_a_full_disk_is_one_line_and_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    whole = writer.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", FullDisk(40, os.write))
        with pytest.raises(
            StoreError, match=r"cannot write line 2: No space left on device. The line before it is kept"
        ):
            writer.append(rounds())
    assert writer.path.read_bytes() == whole
    writer.append(rounds())  # somebody made room
    writer.close(0)
    assert verify_log(writer.path).state == "complete"


@pytest.mark.skipif(not HAS_LOCKS, reason="needs POSIX limits")
def test_the_kernel_refusing_bytes_leaves_a_log_that_can_be_read(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from sample_run import *;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000));"
        "write_log(Path(sys.argv[1]), [rounds(f'r{number}') for number in range(20)])"
    )
    done = run_script(script, str(tmp_path))
    assert "StoreError" in done.stderr
    assert "cannot write line 4: File too large. The 3 lines before it are kept." in done.stderr
    assert [record.TYPE for record in read_log(tmp_path / "log.jsonl")] == ["header", "rounds", "rounds"]
    assert lines_of(tmp_path / "log.jsonl")[-1].endswith(b"}\n")


def test_a_disk_that_does_not_take_the_finished_log_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match="the disk did not take it"):
        writer.close(0)
    assert is_live(writer.path) is not True


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupt_while_writing_does_not_break_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    writer = LogWriter(tmp_path / "log.jsonl")
    writer.append(header())
    write = os.write

    def interrupted(fd: int, data: Any) -> int:
        write(fd, bytes(data)[:30] if moment == "before" else data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.append(rounds("r1"))
    writer.append(verdict())
    writer.close(2)
    assert verify_log(writer.path).state == "complete"
    kinds = [record.TYPE for record in read_log(writer.path)]
    assert kinds == ["header", *(["rounds"] if moment == "after" else []), "verdict", "footer"]
