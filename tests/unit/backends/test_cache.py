"""Digests and locks in the user cache directory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmci.backends import cache
from pytest_llmci.backends.cache import (
    file_sha256,
    files_below,
    folder_sha256,
    locked,
    remember_sha256,
    write_atomically,
)

ROOT = Path(__file__).parents[3]
LARGE = b"x" * (2**20 + 1)


def test_digest_is_sha256(tmp_path: Path) -> None:
    for name, content in (("small", b"abc"), ("large", LARGE)):
        (tmp_path / name).write_bytes(content)
        assert file_sha256(tmp_path / name, tmp_path / "cache") == hashlib.sha256(content).hexdigest()


def test_digest_of_a_large_file_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    first = file_sha256(path, tmp_path / "cache")
    monkeypatch.setattr(cache, "hash_file", lambda path: "read again")
    assert file_sha256(path, tmp_path / "cache") == first
    assert file_sha256(path, tmp_path / "other cache") == "read again"


def test_a_change_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    before = path.stat()
    first = file_sha256(path, tmp_path / "cache")
    path.write_bytes(LARGE[:-1] + b"y")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_sha256(path, tmp_path / "cache") != first


@pytest.mark.parametrize("content", ["", "[]", "{", '{"stat": 1, "sha256": "x"}'])
def test_a_damaged_memory_is_passed_over(tmp_path: Path, content: str) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    first = file_sha256(path, tmp_path / "cache")
    (memory,) = (tmp_path / "cache" / "digests").iterdir()
    memory.write_text(content)
    assert file_sha256(path, tmp_path / "cache") == first


def test_an_unwritable_cache_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    (tmp_path / "file").touch()
    assert file_sha256(path, tmp_path / "file") == hashlib.sha256(LARGE).hexdigest()
    remember_sha256(path, "0", tmp_path / "file")


def test_folder_digest_sees_names_and_contents_and_no_hidden_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "sub" / "b").write_text("2")
    first = folder_sha256(folder, tmp_path)
    (folder / ".hidden").write_text("x")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "c.pyc").write_text("x")
    assert folder_sha256(folder, tmp_path) == first
    (folder / "sub" / "b").write_text("3")
    second = folder_sha256(folder, tmp_path)
    (folder / "sub" / "b").rename(folder / "sub" / "c")
    assert len({first, second, folder_sha256(folder, tmp_path)}) == 3


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["memory.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="no fcntl")
def test_lock_is_exclusive_between_processes_and_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pytest_llmci.backends.cache import locked\n"
        f"with locked(Path({str(tmp_path / 'lock')!r}), lambda: None):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        waited: list[str] = []

        def waiting() -> None:
            waited.append("waited")
            holder.kill()

        with locked(tmp_path / "lock", waiting):
            assert waited == ["waited"]
        with locked(tmp_path / "lock", waiting):
            assert waited == ["waited"]


@pytest.mark.skipif(os.name != "posix", reason="links need no rights there")
def test_a_folder_that_is_a_link_belongs_to_the_digest_and_a_loop_ends(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "a.json").write_bytes(b"1")
    (elsewhere / "part.safetensors").write_bytes(b"2")
    alone = folder_sha256(folder, tmp_path / "cache")
    (folder / "parts").symlink_to(elsewhere, target_is_directory=True)
    (folder / "parts" / "up").symlink_to(folder, target_is_directory=True)
    assert files_below(folder) == [folder / "a.json", folder / "parts" / "part.safetensors"]
    linked = folder_sha256(folder, tmp_path / "cache")
    (elsewhere / "part.safetensors").write_bytes(b"3")
    assert len({alone, linked, folder_sha256(folder, tmp_path / "cache")}) == 3
