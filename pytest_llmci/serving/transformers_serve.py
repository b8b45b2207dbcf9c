"""``transformers serve``, of the transformers of this interpreter."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

from .base import Launch

_NEEDED: Final = ("transformers", "torch", "fastapi", "uvicorn", "openai")
INSTALL: Final = "pip install 'pytest-llmci[transformers,serve]' openai"


class TransformersServer:
    """The server that comes with transformers."""

    @property
    def name(self) -> str:
        try:
            return f"transformers serve {version('transformers')}"
        except PackageNotFoundError:
            return "transformers serve"

    def missing(self) -> str:
        lacking = [package for package in _NEEDED if find_spec(package) is None]
        return f"{', '.join(lacking)} not installed: {INSTALL}" if lacking else ""

    def command(self, launch: Launch) -> list[str]:
        told = {
            "--host": launch.host, "--port": str(launch.port), "--device": launch.device, "--dtype": launch.dtype or "auto",
            "--attn-implementation": launch.attention,
        }  # fmt: skip
        flags = [part for flag, value in told.items() if value for part in (flag, value)]
        flags += ["--trust-remote-code"] if launch.remote_code else []
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", *flags, *launch.arguments]
        return [*command, "--", launch.name]  # a link in the working directory: requests name it so

    def environment(self) -> Mapping[str, str]:
        return {}
