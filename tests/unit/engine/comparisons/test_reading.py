"""Large logs are read by two processes, with the same result."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from stored_runs import simple, write_run

from pytest_llmci.engine.comparisons import reading
from pytest_llmci.engine.comparisons.stored_run import StoredRun, read_run
from pytest_llmci.errors import LogTamperedError, StoreError


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every log is large; the folders that this process reads itself."""
    here: list[Path] = []

    def noting(folder: Path, metrics: Collection[str] = ()) -> StoredRun:
        here.append(folder)
        return read_run(folder, metrics)

    monkeypatch.setattr(reading, "LARGE_BYTES", 0)
    monkeypatch.setattr(reading, "allowed_cores", lambda: 2.0)
    monkeypatch.setattr(reading, "read_run", noting)
    return here


def test_the_other_process_reads_the_second_half(tmp_path: Path, read_here: list[Path]) -> None:
    folders = [write_run(tmp_path, number, simple()) for number in range(3)]
    found = reading.read_runs(folders, ["ttft"])
    assert read_here == folders[:2]
    assert found == [read_run(folder, ["ttft"]) for folder in folders]
    assert "ttft" in found[2].cells["a", "tcp"][0].numbers


def test_what_the_other_process_cannot_read_is_told_by_this_one(tmp_path: Path, read_here: list[Path]) -> None:
    folders = [write_run(tmp_path, number, simple()) for number in range(2)]
    log = folders[1] / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"tcp", b"udp", 1))
    with pytest.raises(LogTamperedError, match="was changed"):
        reading.read_runs(folders)
    assert read_here == folders


def test_no_process_is_left_where_the_first_log_cannot_be_read(
    tmp_path: Path, read_here: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[reading._Child] = []
    start = reading._Child.__init__

    def noting(child: reading._Child, *arguments: Collection[str]) -> None:
        start(child, *arguments)  # type: ignore[arg-type]  # as they came
        children.append(child)

    monkeypatch.setattr(reading._Child, "__init__", noting)
    with pytest.raises(StoreError, match="cannot be read"):
        reading.read_runs([tmp_path / "missing", write_run(tmp_path, 1, simple())])
    assert [child._process.returncode is None for child in children] == [False]


@pytest.mark.parametrize(("cores", "large"), [(1.0, 0), (2.0, 10**12)])
def test_small_logs_and_a_single_core_are_left_to_this_process(
    tmp_path: Path, read_here: list[Path], monkeypatch: pytest.MonkeyPatch, cores: float, large: int
) -> None:
    monkeypatch.setattr(reading, "allowed_cores", lambda: cores)
    monkeypatch.setattr(reading, "LARGE_BYTES", large)
    folders = [write_run(tmp_path, number, simple()) for number in range(2)]
    assert [run.folder for run in reading.read_runs(folders)] == read_here == folders
