"""What a GGUF file says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf_files import Value, gguf_bytes

from pytest_llmci.backends.gguf_header import read_header
from pytest_llmci.errors import ModelLoadError

PAIRS: dict[str, Value] = {
    "general.architecture": "llama",
    "general.name": "Small",
    "tokenizer.ggml.tokens": ["a", "é", "b" * 300],
    "tokenizer.ggml.token_type": [1, 2, 3],
    "general.file_type": 3,
}
TENSORS = {"embed": ((64, 2), 3, 80), "norm": ((64,), 0, 256)}


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    content = gguf_bytes(PAIRS, TENSORS)
    header = read_header(write(tmp_path, content))
    assert (header.architecture, header.name, header.quantization, header.tensors) == ("llama", "Small", "Q4_1", 2)
    assert header.end_bytes == len(content)


def test_quantization_of_a_file_that_does_not_say_is_the_largest_share(tmp_path: Path) -> None:
    pairs = {key: value for key, value in PAIRS.items() if key != "general.file_type"}
    tensors = {"a": ((256, 4), 12, 576), "b": ((64,), 0, 256)}
    assert read_header(write(tmp_path, gguf_bytes(pairs, tensors))).quantization == "Q4_K"


def test_alignment_is_heeded(tmp_path: Path) -> None:
    """The data begin at a multiple of it, so that a file is longer than its header and tensors."""
    plain = gguf_bytes(PAIRS, TENSORS)
    wide = gguf_bytes({**PAIRS, "general.alignment": 4096}, TENSORS)
    with pytest.raises(ModelLoadError, match="cut off"):
        read_header(write(tmp_path, wide))
    assert read_header(write(tmp_path, wide + b"\0" * 4096)).end_bytes > len(plain)


def test_one_byte_too_short(tmp_path: Path) -> None:
    content = gguf_bytes(PAIRS, TENSORS)
    with pytest.raises(
        ModelLoadError, match=f"has {len(content) - 1} bytes and its tensors need {len(content)}"
    ) as caught:
        read_header(write(tmp_path, content[:-1]))
    assert caught.value.kind == "corrupt"


def test_every_shorter_file_is_refused(tmp_path: Path) -> None:
    content = gguf_bytes(PAIRS, TENSORS)
    for length in range(len(content)):
        with pytest.raises(ModelLoadError) as caught:
            read_header(write(tmp_path, content[:length]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not start with 'GGUF'"),
        (b"PK\3\4 a zip file", "does not start with 'GGUF'"),
        (gguf_bytes(PAIRS, version=1), "version 1"),
        (b"GGUF" + b"\xff" * 60, "version"),
        (gguf_bytes(PAIRS)[:16] + b"\xff" * 200, "damaged"),
        (gguf_bytes({"general.alignment": 0}), "damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ModelLoadError, match=said):
        read_header(write(tmp_path, content))
