"""Where a repository's files lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from served import hub_snapshot

from pytest_llmci.backends import hub
from pytest_llmci.backends.transformers import TransformersBackend
from pytest_llmci.records import ModelSpec

MakeSpec = Callable[..., ModelSpec]
COMMIT = "2290a62682d06624634c1f46a6ad5be0f47f38aa"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
        ({"HF_HUB_CACHE": ""}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_cache_folder_follows_the_hubs_own_rules(environ: dict[str, str], folder: str) -> None:
    assert str(hub.hub_cache_dir(environ)) == folder


def test_cache_folder_is_the_one_that_huggingface_hub_uses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    constants = pytest.importorskip("huggingface_hub.constants")
    assert str(hub.hub_cache_dir(os.environ)) == str(constants.HF_HUB_CACHE)


@pytest.mark.parametrize("target", ["./a", "../a", "/a", "~/a", ".", "..", "C:\\a", "C:/a", "a.gguf", "a/b.GGUF"])
def test_paths_are_told_from_names(target: str) -> None:
    assert hub.looks_like_path(target)


@pytest.mark.parametrize("target", ["distilgpt2", "org/name", "org/name.v1", "a..b/c"])
def test_names_are_told_from_paths(target: str) -> None:
    assert not hub.looks_like_path(target)


def test_a_folder_that_is_there_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not hub.is_local("org/name")
    Path("org/name").mkdir(parents=True)
    assert hub.is_local("org/name")


def test_commit_is_read_from_the_cache_path() -> None:
    assert hub.commit_of(f"/c/models--a--b/snapshots/{COMMIT}/config.json") == COMMIT
    assert hub.commit_of("/c/models--a--b/snapshots/main/config.json") == ""
    assert hub.is_commit(COMMIT)
    assert not hub.is_commit(COMMIT[:-1])
    assert not hub.is_commit("main")


def test_download_is_seen_to_grow(spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folders = TransformersBackend.download_folders(spec("hf", "org/name"))
    assert folders == [str(tmp_path / "models--org--name" / "blobs")]
    assert hub.bytes_in(folders) == 0
    blobs = Path(folders[0])
    blobs.mkdir(parents=True)
    (blobs / "abc.1234.incomplete").write_bytes(b"x" * 10)
    assert hub.bytes_in(folders) == 10
    (blobs / "abc.1234.incomplete").rename(blobs / "abc")
    (blobs / "def.incomplete").write_bytes(b"x")
    assert hub.bytes_in(folders) == 11


@pytest.mark.parametrize("target", ["", "./folder", "model.gguf"])
def test_nothing_is_downloaded_for_local_models(spec: MakeSpec, target: str) -> None:
    assert hub.download_folders(spec("hf", target), {}) == []


def test_files_of_a_snapshot_have_their_checksums(tmp_path: Path) -> None:
    source = tmp_path / "w"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).write_bytes(name.encode())
    snapshot = hub_snapshot(tmp_path / "hub", "a/b", source)
    found = hub.snapshot_files(snapshot, lambda path: pytest.fail(f"{path} was read"))
    assert found == {name: (snapshot / name).readlink().name for name in ("config.json", "model.safetensors")}
    assert {name: len(checksum) for name, checksum in found.items()} == {"config.json": 40, "model.safetensors": 64}
    (snapshot / "config.json").resolve().write_bytes(b"not what its name says")
    (snapshot / "sub").mkdir()
    (snapshot / "sub" / "copied").write_bytes(b"x")
    again = hub.snapshot_files(snapshot, lambda path: f"sha256 of {path.name}")
    assert (again["config.json"], again["sub/copied"]) == ("sha256 of config.json", "sha256 of copied")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("distilgpt2", ""),
        ("org/name", ""),
        ("org/_name_", ""),
        ("o.r-g/n.a_m-e.v1", ""),
        ("org/" + "x" * 96, ""),
        ("org/" + "x" * 97, "has 97 characters, and may have 96"),
        ("x" * 97 + "/name", "has 97 characters, and may have 96"),
        ("org/a b", "its name holds ' '"),
        ("org/a:b", "its name holds ':'"),
        ("org/modèle", "its name holds 'è'"),
        ("org\\name", r"its name holds '\\'"),
        ("a/b/c", "its name has 2 slashes, and may have one"),
        ("org/", "a name is missing beside the slash"),
        ("/name", "a name is missing beside the slash"),
        ("org/-name", "a name neither begins nor ends with"),
        ("org/name.", "a name neither begins nor ends with"),
        ("org/a--b", "no name holds '--'"),
        ("a..b/c", "no name holds '..'"),
        ("org/name.git", "no name ends with '.git'"),
        ("org/git", ""),
    ],
)
def test_what_cannot_be_a_repository_is_known_by_the_hubs_own_rules(target: str, why: str) -> None:
    found = hub.why_no_repository(target)
    assert why in found and bool(found) == bool(why)
    validators = pytest.importorskip("huggingface_hub.utils")
    if found:
        with pytest.raises(validators.HFValidationError):
            validators.validate_repo_id(target)
    else:
        validators.validate_repo_id(target)
