"""Whether a safetensors file is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmci.backends.safetensors_header import defect_of


def whole() -> bytes:
    header = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(16)


def defect(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return defect_of(path)


def test_a_whole_file_has_none(tmp_path: Path) -> None:
    assert defect(tmp_path, whole()) == ""


def test_a_file_of_the_package_has_none(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, str(tmp_path / "model.safetensors"))
    assert defect_of(tmp_path / "model.safetensors") == ""


@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_size_is_seen(tmp_path: Path, change: int) -> None:
    content = whole()
    changed = content[:-1] if change < 0 else content + b"x"
    assert defect(tmp_path, changed) == f"it has {len(changed)} bytes and should have {len(content)}"


@pytest.mark.parametrize("content", [b"", b"1234567", b"<!DOCTYPE html>", bytes(8), b"\x02" + bytes(7) + b"[]"])
def test_something_else_is_seen(tmp_path: Path, content: bytes) -> None:
    assert "header" in defect(tmp_path, content)
