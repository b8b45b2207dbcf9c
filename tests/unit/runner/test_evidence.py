from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_llmci.runner import evidence
from pytest_llmci.runner.evidence import MemoryGroup, cause_of_death, last_words, memory_fact, memory_group, rss_bytes


def group(kills: int | None = None, limit: int | None = None) -> MemoryGroup:
    return MemoryGroup(oom_kills=kills, limit_bytes=limit, limit_name="container")


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (0, "ended by itself with exit status 0"),
        (3, "ended by itself with exit status 3"),
        (-9, "was killed by SIGKILL, cause unknown"),
        (-15, "was killed by SIGTERM"),
        (-11, "died of a segmentation fault (SIGSEGV)"),
        (-6, "died of an abort (SIGABRT)"),
        (-4, "died of an illegal instruction: a build for another CPU (SIGILL)"),
        (-200, "was killed by signal 200"),
    ],
)
def test_how_it_died_in_words(returncode: int, words: str) -> None:
    assert cause_of_death(returncode, group(0), group(0)) == (words, "")


@pytest.mark.parametrize(
    ("before", "after", "proven"), [(0, 1, True), (4, 6, True), (1, 1, False), (None, 1, False), (0, None, False)]
)
def test_out_of_memory_is_claimed_only_with_proof(before: int | None, after: int | None, proven: bool) -> None:
    how, proof = cause_of_death(-9, group(before), group(after))
    assert ("out of memory" in how) is proven
    assert proof == (f"the control group's oom_kill rose from {before} to {after}" if proven else "")


def test_another_signal_is_not_out_of_memory_though_the_group_counted_one() -> None:
    assert "out of memory" not in cause_of_death(-11, group(0), group(1))[0]


def test_the_last_sample_names_the_limit_it_ran_against() -> None:
    assert memory_fact(None, group(0, 2**30)) is None
    assert memory_fact(2**29, group(0)) == "512 MiB at the last sample"
    assert memory_fact(2**29, group(0, 2**30)) == "512 MiB of 1 GiB at the last sample (limit: container)"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_process() -> None:
    found = rss_bytes(os.getpid())
    assert found is not None and found > 1 << 20


def test_memory_of_nobody_is_unknown_and_not_zero() -> None:
    assert rss_bytes(2**31 - 1) is None


def test_an_unknown_group_gives_the_machines_memory() -> None:
    found = memory_group(2**31 - 1)
    assert found.oom_kills is None
    assert found.limit_name == "machine"


@pytest.mark.parametrize(
    ("events", "limit", "text", "expected"),
    [
        ("memory.events", "memory.max", "1073741824\n", 2**30),
        ("memory.events", "memory.max", "max\n", None),
        ("memory.oom_control", "memory.limit_in_bytes", "9223372036854771712\n", None),
        ("memory.oom_control", "memory.limit_in_bytes", "4096\n", 4096),
    ],
)
def test_reads_either_version_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: str, limit: str, text: str, expected: int | None
) -> None:
    (tmp_path / events).write_text("low 0\noom 7\noom_kill 2\noom_group_kill 1\n", "ascii")
    (tmp_path / limit).write_text(text, "ascii")
    monkeypatch.setattr(evidence, "_group_folders", lambda pid: [tmp_path / "absent", tmp_path])
    monkeypatch.setattr(evidence, "_machine_memory", lambda: 77)
    assert memory_group() == MemoryGroup(oom_kills=2, limit_bytes=expected or 77, limit_name="container")


def test_the_last_lines_that_say_something() -> None:
    assert last_words("x" * 5000 + "\nfirst\n\n  second  \n\ufffd third\n\n") == "\ufffd third"
    fatal = 'Fatal Python error: Segmentation fault\n\nThread 0x1 (most recent call first):\n  File "a.py", line 3\n  File "b.py", line 1\n'
    assert last_words(fatal) == 'Fatal Python error: Segmentation fault, File "a.py", line 3'
    assert last_words("") == ""
