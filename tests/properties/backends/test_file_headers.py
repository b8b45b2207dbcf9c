"""Readers of foreign files fail in one way only."""

from __future__ import annotations

from pathlib import Path

from gguf_files import gguf_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmci.backends.gguf_header import read_header
from pytest_llmci.backends.safetensors_header import defect_of
from pytest_llmci.errors import ModelLoadError

WHOLE = gguf_bytes(
    {"general.architecture": "llama", "general.file_type": 3, "tokens": ["a", "b"], "kinds": [1, 2]},
    {"w": ((64, 2), 3, 80), "n": ((64,), 0, 256)},
)
FIXTURES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)


@FIXTURES
@given(place=st.integers(4, len(WHOLE) - 1), value=st.integers(0, 255), cut=st.integers(0, 3))
def test_a_changed_gguf_is_read_or_refused(tmp_path: Path, place: int, value: int, cut: int) -> None:
    """Whatever a file holds after ``GGUF``: a header comes back, or a ModelLoadError of kind ``corrupt`` in one line."""
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE[:place] + bytes([value]) + WHOLE[place + 1 : len(WHOLE) - cut])
    refusals: list[ModelLoadError] = []
    try:
        read_header(path)
    except ModelLoadError as error:
        refusals.append(error)
    assert all(refusal.kind == "corrupt" and "\n" not in str(refusal) for refusal in refusals)


@FIXTURES
@given(content=st.binary(max_size=300) | st.binary(max_size=60).map(lambda body: bytes([len(body)]) + bytes(7) + body))
def test_anything_else_than_safetensors_has_a_defect(tmp_path: Path, content: bytes) -> None:
    """A file is whole only where a JSON header of the announced length describes exactly the bytes that follow."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    length = int.from_bytes(content[:8], "little")
    described = content[8 : 8 + length]
    if defect_of(path) == "":
        assert described.strip()[:1] == b"{"
        assert 8 + length <= len(content)
