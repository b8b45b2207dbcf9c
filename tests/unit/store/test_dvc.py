from __future__ import annotations

from hashlib import md5
from pathlib import Path

import pytest

from pytest_llmci.errors import StoreError
from pytest_llmci.store.dvc import (
    Storage,
    folder_md5,
    pointer_text,
    read_lock,
    read_pointer,
    repository_of,
    stage_that_makes,
    storages,
)
from pytest_llmci.store.manifest import FileEntry


def entry(path: str, content: bytes) -> FileEntry:
    return FileEntry(path=path, size=len(content), md5=md5(content).hexdigest(), sha256="")


FILES = [entry("é.txt", "é\n".encode()), entry("workers/x.log", b""), entry("a.txt", b"hi\n")]
POINTER = """\
outs:
- md5: 57ddaa0dbbb9f3d093fb116b5673375f.dir
  size: 6
  nfiles: 3
  hash: md5
  path: run
"""
"""As dvc 3.67.1 wrote it for these files: ``dvc add run``."""


def test_a_pointer_is_what_dvc_add_writes() -> None:
    assert pointer_text("run", FILES) == POINTER
    assert folder_md5(FILES[::-1]) == folder_md5(FILES)


@pytest.mark.parametrize("name", ["", "a: b", "é", "- x", "#x", "null!"])
def test_a_name_that_would_need_quotes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no plain name"):
        pointer_text(name, FILES)


def test_pointers_and_locks_are_read(tmp_path: Path) -> None:
    pointer, lock = tmp_path / "run.dvc", tmp_path / "dvc.lock"
    pointer.write_text(POINTER + "- md5: 012a\n  size: 1\n  path: log.jsonl\n")
    first, second = read_pointer(pointer)
    assert (first.path, first.md5, first.is_folder) == (tmp_path / "run", "57ddaa0dbbb9f3d093fb116b5673375f", True)
    assert (second.path, second.md5, second.is_folder, second.said_in) == (
        tmp_path / "log.jsonl",
        "012a",
        False,
        pointer,
    )
    lock.write_text(
        "schema: '2.0'\nstages:\n  a:\n    cmd: x\n  b:\n    cmd: y\n    outs:\n    - {path: d/run, md5: ab.dir}\n"
    )
    assert [(one.path, one.md5) for one in read_lock(lock)] == [(tmp_path / "d/run", "ab")]


@pytest.mark.parametrize("text", ["", "[]", "outs: []", "outs:\n- path: x\n", "outs: [7]", "a: [", "\x00"])
def test_what_is_no_pointer_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.dvc"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"run\.dvc") as raised:
        read_pointer(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("stages", "made"),
    [
        ("stages: {a: {cmd: x, outs: [p/run]}}", True),
        ("stages: {a: {cmd: x, outs: [{p/run: {cache: false}}]}}", True),
        ("stages: {a: {cmd: x, wdir: p, outs: [run]}}", True),
        ("stages: {a: {foreach: [1], do: {cmd: x, outs: [./p/../p/run]}}}", True),
        ("stages: {a: {cmd: x, outs: [p/runs]}}", False),
        ("stages: {a: {cmd: x, metrics: [p/run]}}", False),
        ("stages: {a: {cmd: x}, b: null}", False),
        ("metrics: [p/run]", False),
        ("", False),
    ],
)
def test_stages_that_make_a_folder_are_found(tmp_path: Path, stages: str, made: bool) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "p").mkdir()
    (tmp_path / "dvc.yaml").write_text(stages)
    found = stage_that_makes(tmp_path / "p" / "run")
    assert found == (f"{tmp_path / 'dvc.yaml'}: stage a" if made else "")


def test_stages_above_the_repository_are_another_ones(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: x, outs: [inner/run]}}")
    (tmp_path / "inner" / ".dvc").mkdir(parents=True)
    assert stage_that_makes(tmp_path / "inner" / "run") == ""
    assert repository_of(tmp_path / "inner" / "run") == tmp_path / "inner"


def test_cache_and_remotes_on_this_machine(tmp_path: Path) -> None:
    config = tmp_path / ".dvc" / "config"
    config.parent.mkdir()
    (tmp_path / "remote").mkdir()
    config.write_text(
        "[core]\n    remote = here\n['remote \"here\"']\n    url = ../remote\n['remote \"far\"']\n    url = s3://bucket/100%\n"
    )
    assert storages(tmp_path) == [Storage(name="remote 'here'", folder=tmp_path / ".dvc" / "../remote")]
    (tmp_path / ".dvc" / "cache").mkdir()
    assert [storage.name for storage in storages(tmp_path)] == ["cache", "remote 'here'"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n")
    assert storages(tmp_path)[0].folder == tmp_path / "elsewhere"
    config.write_text("nonsense")
    with pytest.raises(StoreError, match="config: cannot be read"):
        storages(tmp_path)


def test_a_listing_that_was_changed_is_told(tmp_path: Path) -> None:
    storage = Storage(name="cache", folder=tmp_path)
    value = folder_md5(FILES)
    assert storage.listing(value) is None
    path = tmp_path / "files" / "md5" / value[:2] / f"{value[2:]}.dir"
    path.parent.mkdir(parents=True)
    path.write_text(
        '[{"md5": "764efa883dda1e11db47671c4a3bbd9e", "relpath": "a.txt"}, {"md5": "d41d8cd98f00b204e9800998ecf8427e",'
        ' "relpath": "workers/x.log"}, {"md5": "88df14e6957d2adb8ae54d0269f546ab", "relpath": "\\u00e9.txt"}]'
    )
    assert storage.listing(value) == {each.path: each.md5 for each in FILES}
    path.write_text("[]")
    with pytest.raises(StoreError, match="holds a listing whose md5 is not its name"):
        storage.listing(value)
