"""GGUF files made by hand, as small as they can be."""

from __future__ import annotations

import struct
from collections.abc import Mapping

Value = str | int | list[str] | list[int]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, value: Value) -> bytes:
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    if value and isinstance(value[0], str):
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(str(item)) for item in value)
    return text(key) + struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *map(int, value))


def gguf_bytes(
    pairs: Mapping[str, Value],
    tensors: Mapping[str, tuple[tuple[int, ...], int, int]] | None = None,
    *,
    version: int = 3,
) -> bytes:
    """A whole file.

    :param tensors: name -> (shape, type number, bytes).
    """
    tensors = tensors or {}
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    head += b"".join(pair(key, value) for key, value in pairs.items())
    offset = 0
    for name, (shape, kind, size) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", kind, offset)
        offset += -(-size // 32) * 32
    return head + b"\0" * (-len(head) % 32) + b"\0" * offset
