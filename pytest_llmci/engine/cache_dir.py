"""Where what takes long to make is kept between sessions."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache_dir() -> Path:
    """Where conversions are kept: ``LLMCI_CACHE_DIR``, else the user's cache directory."""
    given = os.environ.get("LLMCI_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "llmci"
