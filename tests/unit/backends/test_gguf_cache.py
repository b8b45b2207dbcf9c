"""The conversion cache, with a converter that only writes a few bytes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_llmci.backends import cache, gguf
from pytest_llmci.backends.gguf import ConvertedGguf, Converter, ensure_converted
from pytest_llmci.errors import ModelLoadError

ROOT = Path(__file__).parents[3]
WEIGHTS = b"w" * (2**20 + 3)
Ensure = Callable[..., ConvertedGguf]


class Recorder:
    """A converter that counts its runs."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def __call__(self, file: Path, dtype: str, folder: Path) -> None:
        self.runs.append(dtype)
        (folder / "model.safetensors").write_bytes(WEIGHTS)
        (folder / "config.json").write_text("{}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and more")
    return path


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def ensure(source: Path, tmp_path: Path, said: list[str], recorder: Recorder) -> Ensure:
    def run(convert: Converter = recorder, *, dtype: str = "float32", version: str = "v1") -> ConvertedGguf:
        return ensure_converted(
            source, dtype=dtype, version=version, cache_dir=tmp_path / "cache", say=said.append, convert=convert
        )

    return run


def entries(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "gguf").iterdir() if path.suffix != ".lock")


def test_converted_once_and_said_once(ensure: Ensure, recorder: Recorder, said: list[str]) -> None:
    first, second = ensure(), ensure()
    assert first.folder == second.folder
    assert (first.converted_now, second.converted_now) == (True, False)
    assert (recorder.runs, said) == (["float32"], ["converting (once)"])
    assert (first.folder / "model.safetensors").read_bytes() == WEIGHTS


def test_key_is_content_dtype_and_version(ensure: Ensure, recorder: Recorder, source: Path) -> None:
    folders = {ensure().folder, ensure(dtype="bfloat16").folder, ensure(version="v2").folder}
    source.write_bytes(b"GGUF and something else")
    folders.add(ensure().folder)
    assert len(folders) == 4
    assert recorder.runs == ["float32", "bfloat16", "float32", "float32"]


def test_another_name_of_the_same_content_is_the_same(ensure: Ensure, recorder: Recorder, source: Path) -> None:
    folder = ensure().folder
    shutil.copy(source, source.with_name("copy.gguf"))
    source.unlink()
    source.with_name("copy.gguf").rename(source)
    assert ensure().folder == folder
    assert len(recorder.runs) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(WEIGHTS[:-1]),
        lambda folder: (folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"x"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("[]"),
        lambda folder: (folder / "llmci.json").unlink(),
        lambda folder: (folder / "llmci.json").write_text('{"format": 1, "fil'),
        lambda folder: (folder / "llmci.json").write_text('{"format": 1, "files": {}}'),
        lambda folder: (folder / "llmci.json").write_text('{"format": 0, "files": {"config.json": {}}}'),
        shutil.rmtree,
    ],
    ids=["cut", "changed", "gone", "config", "no-manifest", "half-manifest", "empty", "old-format", "removed"],
)
def test_a_damaged_entry_is_made_again(
    ensure: Ensure, recorder: Recorder, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = ensure().folder
    damage(folder)
    again = ensure()
    assert (again.folder, again.converted_now, len(recorder.runs)) == (folder, True, 2)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert entries(tmp_path) == [folder.name]
    assert ensure().converted_now is False


def test_debris_of_a_killed_conversion_is_swept(ensure: Ensure, tmp_path: Path) -> None:
    folder = ensure().folder
    shutil.rmtree(folder)
    (folder.with_name(f".tmp-{folder.name}-abc")).mkdir()
    (folder.with_name(f".tmp-{folder.name}-abc") / "half").write_bytes(b"x")
    ensure()
    assert entries(tmp_path) == [folder.name]


def test_a_failed_conversion_leaves_nothing(ensure: Ensure, recorder: Recorder, tmp_path: Path) -> None:
    def broken(file: Path, dtype: str, folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise ModelLoadError("damaged", kind="corrupt")

    with pytest.raises(ModelLoadError, match="damaged"):
        ensure(broken)
    assert entries(tmp_path) == []
    assert ensure().converted_now
    assert recorder.runs == ["float32"]


def test_second_load_reads_no_weights(ensure: Ensure, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure()

    def no_reading(path: Path) -> str:
        if path.suffix == ".safetensors":
            raise AssertionError("hashed again")
        return original(path)

    original = cache.hash_file
    monkeypatch.setattr(cache, "hash_file", no_reading)
    assert ensure().converted_now is False


def test_without_a_writable_cache_the_model_still_loads(
    source: Path, tmp_path: Path, said: list[str], recorder: Recorder
) -> None:
    (tmp_path / "file").touch()
    made = ensure_converted(
        source, dtype="float32", version="v1", cache_dir=tmp_path / "file", say=said.append, convert=recorder
    )
    assert made.temporary
    assert (made.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(said) == 1
    assert "cannot be kept" in said[0]
    shutil.rmtree(made.folder)


def test_a_full_disk_is_one_line(ensure: Ensure, tmp_path: Path) -> None:
    def full(file: Path, dtype: str, folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ModelLoadError, match=r"cannot be unpacked.*No space left.*LLMCI_CACHE_DIR") as caught:
        ensure(full)
    assert caught.value.kind == "disk"
    assert entries(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no fcntl")
def test_two_processes_convert_once(tmp_path: Path, source: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from pytest_llmci.backends.gguf import ensure_converted
def convert(file, dtype, folder):
    print("converted", flush=True)
    time.sleep(0.5)
    (folder / "model.safetensors").write_bytes(b"x")
made = ensure_converted(Path(sys.argv[1]), dtype="float32", version="v1", cache_dir=Path(sys.argv[2]), say=lambda line: None, convert=convert)
assert (made.folder / "model.safetensors").read_bytes() == b"x"
"""
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    outputs = [child.communicate(timeout=60)[0] for child in both]
    assert [child.returncode for child in both] == [0, 0]
    assert b"".join(outputs).count(b"converted") == 1


def test_a_link_is_read_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the hub's cache, where files are links to blobs that are named by their hashes."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "3f2a").write_bytes(b"GGUF")
    (tmp_path / "model.gguf").symlink_to(tmp_path / "blobs" / "3f2a")
    asked: list[Path] = []

    def from_pretrained(place: str, *, gguf_file: str, **_: object) -> SimpleNamespace:
        asked.append(Path(place, gguf_file))
        return SimpleNamespace(save_pretrained=lambda _: None, config=SimpleNamespace())

    auto = SimpleNamespace(from_pretrained=from_pretrained)
    fake = SimpleNamespace(AutoTokenizer=auto, AutoModelForCausalLM=auto, float32="float32")
    monkeypatch.setattr(gguf, "require", lambda *_: fake)
    monkeypatch.chdir(tmp_path)
    gguf.convert(Path("model.gguf"), "float32", tmp_path / "out")
    assert asked == [tmp_path / "model.gguf"] * 2
    assert all(path.is_file() for path in asked)
