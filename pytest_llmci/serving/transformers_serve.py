"""``transformers serve``, of the transformers of this interpreter."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from .base import Launch

_NEEDED: Final = ("transformers", "torch", "fastapi", "uvicorn", "openai")
_NO_COMMIT: Final = "0" * 40
"""Stands for one where the hub's layout asks for it."""
INSTALL: Final = "pip install 'pytest-llmci[transformers,serve]' openai"


class TransformersServer:
    """The server that comes with transformers."""

    takes_device = True

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

    def environment(self, launch: Launch) -> Mapping[str, str]:
        if launch.remote_code or "--" in launch.name:
            return {}
        return {"HF_HUB_CACHE": str(_listing(launch))}


def _listing(launch: Launch) -> Path:
    """A hub cache that holds the served model and nothing else: ``/v1/models`` lists what is in the cache, and fails where there is none.

    The model's own code may lie in another repository, and a name with ``--`` would be read as two; both keep the machine's cache.
    """
    repository = launch.home / "hub" / f"models--{launch.name}"
    for part in ("blobs", "refs", "snapshots"):
        (repository / part).mkdir(parents=True)
    (repository / "refs" / "main").write_text(_NO_COMMIT, encoding="ascii")
    (repository / "snapshots" / _NO_COMMIT).symlink_to(launch.folder, target_is_directory=True)
    return repository.parent
