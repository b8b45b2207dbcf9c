"""The version of the installed package."""

from __future__ import annotations


def version() -> str:
    """As the package's metadata has it; ``0+unknown`` where it runs from a bare directory."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("pytest-llmci")
    except PackageNotFoundError:
        return "0+unknown"
