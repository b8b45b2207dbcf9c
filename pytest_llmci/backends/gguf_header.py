"""What a GGUF file says of itself: read without any package, so that a broken file is named before heavy imports.

Source: the GGUF specification of the ggml project, versions 2 and 3 (little endian).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import ModelLoadError

_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING: Final = 8
_ARRAY: Final = 9
_KEPT: Final = ("general.architecture", "general.name", "general.file_type", "general.alignment")
_DEFAULT_ALIGNMENT: Final = 32

TENSOR_TYPES: Final[dict[int, tuple[str, int, int]]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}  # fmt: skip
"""Tensor type -> name, elements a block, bytes a block."""

_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufHeader:
    """The part of a GGUF file's metadata that we record."""

    architecture: str
    name: str
    quantization: str
    """As the file calls it, such as ``Q4_1``; by its largest share of bytes where the file does not say."""
    tensors: int
    end_bytes: int
    """Size that the file must have at least."""


def read_header(path: Path) -> GgufHeader:
    """Read and check a GGUF file's header.

    :raises ModelLoadError: of kind ``corrupt`` if it is no GGUF file, damaged, or shorter than its tensors need.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start[:4] != b"GGUF":
                raise ModelLoadError(f"'{path}' is not a GGUF file: it does not start with 'GGUF'.", kind="corrupt")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = _Reader(data, path).header()
                size = len(data)
    except (struct.error, IndexError, OverflowError, ValueError, ZeroDivisionError) as error:
        raise ModelLoadError(
            f"GGUF file '{path}' is damaged: its header ends early or makes no sense; download it again.",
            kind="corrupt",
        ) from error
    if size < header.end_bytes:
        raise ModelLoadError(
            f"GGUF file '{path}' is cut off: it has {size} bytes and its tensors need {header.end_bytes}; download it"
            " again.",
            kind="corrupt",
        )
    return header


class _Reader:
    """A position in the file."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self._at = 0

    def header(self) -> GgufHeader:
        self._at = 4
        version = self._number("I")
        if version not in (2, 3):
            raise ModelLoadError(
                f"GGUF file '{self._path}' has version {version}; versions 2 and 3 can be read.", kind="corrupt"
            )
        tensors, pairs = self._number("Q"), self._number("Q")
        kept = self._metadata(int(pairs))
        sizes, end = self._tensor_table(int(tensors))
        alignment = _integer(kept.get("general.alignment"), _DEFAULT_ALIGNMENT)
        start = -(-self._at // alignment) * alignment
        file_type = _FILE_TYPES.get(_integer(kept.get("general.file_type"), -1))
        return GgufHeader(
            architecture=str(kept.get("general.architecture", "")),
            name=str(kept.get("general.name", "")),
            quantization=file_type or max(sizes, key=sizes.__getitem__, default=""),
            tensors=int(tensors),
            end_bytes=start + end,
        )

    def _metadata(self, pairs: int) -> dict[str, object]:
        kept: dict[str, object] = {}
        for _ in range(pairs):
            key = self._string()
            value = self._value(int(self._number("I")))
            if key in _KEPT:
                kept[key] = value
        return kept

    def _tensor_table(self, tensors: int) -> tuple[dict[str, int], int]:
        """Bytes by type, and where the last tensor ends, from the start of the tensor data."""
        sizes: dict[str, int] = {}
        end = 0
        for _ in range(tensors):
            self._string()
            elements = 1
            for _ in range(int(self._number("I"))):
                elements *= int(self._number("Q"))
            kind, offset = int(self._number("I")), int(self._number("Q"))
            name, per_block, block_bytes = TENSOR_TYPES.get(kind, (f"type {kind}", 1, 0))
            size = elements // per_block * block_bytes
            sizes[name] = sizes.get(name, 0) + size
            end = max(end, offset + size)
        return sizes, end

    def _number(self, code: str) -> float:
        (value,) = struct.unpack_from("<" + code, self._data, self._at)
        self._at += struct.calcsize("<" + code)
        number: float = value
        return number

    def _bytes(self) -> bytes:
        length = int(self._number("Q"))
        text = self._data[self._at : self._at + length]
        if len(text) != length:
            raise IndexError(length)
        self._at += length
        return text

    def _string(self) -> str:
        return self._bytes().decode("utf-8")

    def _value(self, kind: int) -> object:
        if kind == _STRING:
            return self._bytes().decode("utf-8", "replace")
        if kind == _ARRAY:
            self._pass_over_array()
            return None
        return self._number(_SCALARS[kind]) if kind in _SCALARS else self._unknown(kind)

    def _pass_over_array(self) -> None:
        kind, count = int(self._number("I")), int(self._number("Q"))
        if kind in _SCALARS:
            self._at += struct.calcsize("<" + _SCALARS[kind]) * count
            return
        step: Callable[[], object] = self._bytes if kind == _STRING else lambda: self._value(kind)
        for _ in range(count):
            step()

    def _unknown(self, kind: int) -> object:
        raise ValueError(f"value type {kind}")


def _integer(value: object, default: int) -> int:
    return int(value) if isinstance(value, (int, float)) else default
