"""``vllm serve``, where vLLM's command is on the path: it needs a torch of its own, and so an environment of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from .base import Launch


class VllmServer:
    """vLLM."""

    takes_device = False  # each build of it is for one kind

    @property
    def name(self) -> str:
        return "vllm serve"

    def missing(self) -> str:
        return "" if _program() else "no command 'vllm' on the path"

    def command(self, launch: Launch) -> list[str]:
        told = {
            "--host": launch.host, "--port": str(launch.port), "--served-model-name": launch.name,
            "--dtype": launch.dtype or "auto",
        }  # fmt: skip
        flags = [part for flag, value in told.items() for part in (flag, value)]
        flags += ["--trust-remote-code"] if launch.remote_code else []
        return [_program(), "serve", str(launch.folder), *flags, *launch.arguments]

    def environment(self, _launch: Launch) -> Mapping[str, str]:
        return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def _program() -> str:
    """Beside this interpreter, else on the path; empty if nowhere."""
    places = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    return shutil.which("vllm", path=os.pathsep.join(places)) or ""
