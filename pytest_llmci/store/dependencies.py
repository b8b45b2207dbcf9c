"""Which files of a repository say what packages are installed, and whether a change of one is a change of that."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

LOCKS: Final = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "conda-lock.yml", "pixi.lock")
_LISTS: Final = re.compile(
    r"((requirements|constraints|environment).*\.(txt|in|ya?ml|lock)|pylock(\..+)?\.toml|Pipfile)\Z"
)
_FOLDERS: Final = frozenset({"requirements", "constraints"})
_PROJECT_KEYS: Final = ("requires-python", "dependencies", "optional-dependencies", "dynamic")
_POETRY_KEYS: Final = ("dependencies", "group", "dev-dependencies", "extras", "source")
_METADATA_ONLY: Final = re.compile(
    r"(metadata|tool:.*|flake8|mypy.*|isort|coverage.*|aliases|bdist_wheel|bumpversion.*)\Z"
)


def dependency_files(changed: Iterable[str], then: Callable[[str], str], now: Callable[[str], str]) -> tuple[str, ...]:
    """Those of the changed files that can have changed what is installed.

    :param changed: paths with slashes.
    :param then: text of a file before; empty where there was none.
    :param now: the same for today.
    """
    return tuple(name for name in changed if _says_what_is_installed(name, then, now))


def _says_what_is_installed(name: str, then: Callable[[str], str], now: Callable[[str], str]) -> bool:
    path = PurePosixPath(name)
    if path.name == "pyproject.toml":
        return required(then(name)) != required(now(name))
    if path.name == "setup.cfg":
        return _of_setup_cfg(then(name)) != _of_setup_cfg(now(name))
    in_folder = path.suffix in (".txt", ".in") and path.parent.name in _FOLDERS
    return path.name == "setup.py" or path.name in LOCKS or in_folder or bool(_LISTS.match(path.name))


def required(text: str) -> object:
    """What a ``pyproject.toml`` asks for: packages and the way to build; all of the text where it cannot be read."""
    try:
        data: Mapping[str, Any] = tomllib.loads(text)
        project, tool = data.get("project", {}), data.get("tool", {})
        poetry = tool.get("poetry", {})
        return (
            {key: project[key] for key in _PROJECT_KEYS if key in project},
            data.get("build-system"),
            data.get("dependency-groups"),
            {key: poetry[key] for key in _POETRY_KEYS if key in poetry},
            [tool.get(name) for name in ("uv", "pixi")],
            tool.get("pdm", {}).get("dev-dependencies"),
        )
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):  # not TOML, or a value where a table belongs
        return text


def _of_setup_cfg(text: str) -> object:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return text
    return {name: dict(parser[name]) for name in parser.sections() if not _METADATA_ONLY.match(name)}
