"""What hatchling asks for the dependencies: those of pyproject.toml, and the entry point that lies beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Dependencies(MetadataHookInterface):
    """From a checkout the entry point is installed from there; with ``LLMCI_RELEASE=1`` from the index, which takes no address."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in what pyproject.toml leaves open."""
        address = (Path(self.root) / "entry").as_uri()
        entry = f"=={metadata['version']}" if os.environ.get("LLMCI_RELEASE") else f" @ {address}"
        metadata["dependencies"] = [*self.config["dependencies"], f"pytest-llmci-entry{entry}"]
