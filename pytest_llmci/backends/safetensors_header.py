"""Whether a safetensors file is whole, by its header: without any package, so that a damaged file is named early.

Source: the format description of the safetensors project.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

_LENGTH_BYTES: Final = 8
_LONGEST_HEADER: Final = 100_000_000  # bytes; the format's own limit


def defect_of(path: Path) -> str:
    """What is wrong with a file, in a few words; empty where header and size agree.

    :raises OSError: if it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > min(_LONGEST_HEADER, size - _LENGTH_BYTES):
            return "its header is not that of a safetensors file"
        text = file.read(length)
    try:
        header = json.loads(text)
        end = max((facts["data_offsets"][1] for name, facts in header.items() if name != "__metadata__"), default=0)
        expected = _LENGTH_BYTES + length + int(end)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return "its header makes no sense"
    return "" if size == expected else f"it has {size} bytes and should have {expected}"
