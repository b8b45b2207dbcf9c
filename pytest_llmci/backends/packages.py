"""Packages that only some backends need: imported at load, named in one line where they are missing."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from typing import Any, TypeAlias

from ..errors import ModelLoadError
from ..registry import missing_package

Foreign: TypeAlias = Any
"""A module, class, tensor or tokenizer of such a package: its types are not ours to check, and it may be absent."""

TRANSFORMERS_EXTRA = "pytest-llmci[transformers]"


def require(package: str, what: str, extra: str = TRANSFORMERS_EXTRA) -> Foreign:
    """Import a package that an extra brings.

    :param package: the module to import, such as ``torch``.
    :param what: what needs it, for the message.
    :raises MissingExtraError: if it, or something that it needs, is not installed.
    :raises ModelLoadError: of kind ``import``, if it is installed and broken.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise missing_package(what, (error.name or package).partition(".")[0], extra) from error
    except (ImportError, OSError) as error:  # OSError: a shared library of the package cannot be loaded
        raise ModelLoadError(
            f"{what}: the package '{package}' is installed but cannot be imported: {first_line(error)}", kind="import"
        ) from error


def require_installed(packages: Iterable[str], what: str, extra: str = TRANSFORMERS_EXTRA) -> None:
    """Refuse what cannot be imported, without importing anything.

    :raises MissingExtraError: naming the first package that is not installed.
    """
    for package in packages:
        try:
            found = importlib.util.find_spec(package) is not None
        except ValueError:  # in sys.modules, and blocked there
            found = False
        if not found:
            raise missing_package(what, package, extra)


def first_line(error: BaseException) -> str:
    """The first line of an exception's text that says something, or its class name."""
    for line in str(error).splitlines():
        if line.strip():
            return line.strip()
    return type(error).__name__


def installed_version(package: str) -> str:
    """The version that the package's metadata tell, without importing it; empty if there are none."""
    import importlib.metadata  # a model's process has no use for it

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
