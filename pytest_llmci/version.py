"""The versions of installed packages, ours first."""

from __future__ import annotations


def version() -> str:
    """As the package's metadata has it; ``0+unknown`` where it runs from a bare directory."""
    return installed_version("pytest-llmci") or "0+unknown"


def installed_version(package: str) -> str | None:
    """The version that is installed; None where the package is not.

    From the head of its metadata: ``importlib.metadata.version`` takes all of it apart, descriptions and licences of many pages too.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    head = (found.read_text("METADATA") or "").partition("\n\n")[0]
    told = [line for line in head.split("\n") if line.startswith("Version: ")]
    return told[0].removeprefix("Version: ").strip() if told else found.version
