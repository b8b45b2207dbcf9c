"""The lines of a log, changed as somebody might change them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HAS_LOCKS = sys.platform != "win32"


def lines_of(path: Path) -> list[bytes]:
    """With their ends."""
    return path.read_bytes().splitlines(keepends=True)


def bodies(path: Path) -> list[dict[str, Any]]:
    """The records without what chains them."""
    return [{k: v for k, v in json.loads(raw).items() if k not in ("sha256", "line")} for raw in lines_of(path)]


def rechain(path: Path, records: list[dict[str, Any]]) -> None:
    """Write a log as somebody would who knows how the chain is made."""
    previous, lines = "0" * 64, []
    for number, body in enumerate(records, start=1):
        sealed = {"digest": previous} if body["type"] == "footer" else {}
        rest = json.dumps({"line": number, **body, **sealed}, separators=(",", ":"))[1:].encode()
        digest = hashlib.sha256(previous.encode() + rest).hexdigest()
        lines.append(b'{"sha256":"' + digest.encode() + b'",' + rest + b"\n")
        previous = digest
    path.write_bytes(b"".join(lines))


def changed(raw: bytes, old: bytes, new: bytes) -> bytes:
    """With another text in the place of one that is there."""
    assert raw.count(old) >= 1
    return raw.replace(old, new, 1)


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own, which finds what the tests share."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, check=False
    )
