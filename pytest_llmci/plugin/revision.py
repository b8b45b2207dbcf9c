"""The settings as they were at another commit: command line and environment as today, files from its worktree."""

from __future__ import annotations

import argparse
import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import iniconfig  # what pytest itself reads them with
import pytest

from ..engine.comparisons.revision import SUBJECT_SETTINGS, SettingsThen
from ..errors import ConfigError
from ..given import Given
from ..store.checkout import Checkout
from .options import OPTIONS, UNNAMED, Option, gather_from, read_table

_NAMES: Final = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""Where pytest looks for its settings, in its order."""
_TRUE: Final = frozenset({"1", "true", "yes", "on", "y", "t"})


def gather_at(config: pytest.Config, checkout: Checkout) -> SettingsThen:
    """What :func:`~.options.gather` would have found at the commit, of the options that belong to it.

    :raises ConfigError: if a file of that commit cannot be read, or ``addopts`` gives one of our options wrongly.
    """
    today = config.inipath.parent if config.inipath else config.rootpath
    folder = checkout.inside(today)
    if folder is None or not folder.is_dir():
        folder = today if folder is None else checkout.folder
    file, ini = _settings_file(config, checkout, folder)
    folder = file.parent if file else folder
    typed = _typed(config, ini)
    overrides = dict(pair.partition("=")[::2] for pair in typed.override_ini or ())
    values = {**ini, **{name.strip(): value for name, value in overrides.items()}}
    kinds = {"llmci_" + option.name: option for option in OPTIONS}
    found = gather_from(
        lambda name: getattr(typed, name),
        lambda name: _converted(values.get(name), kinds[name]),
        f"{file.name if file else 'ini'} at {checkout.facts.short}",
        _table(checkout.inside(config.rootpath) or config.rootpath, checkout),
    )
    return SettingsThen(given={name: found[name] for name in SUBJECT_SETTINGS if name in found}, folder=folder)


def _settings_file(config: pytest.Config, checkout: Checkout, folder: Path) -> tuple[Path | None, Mapping[str, object]]:
    """The file that pytest would take in that folder, or above it within the repository; the one of ``-c`` if that was given."""
    given = getattr(config.option, "inifilename", None)
    if given and config.inipath:
        file = checkout.inside(config.inipath) or config.inipath
        return (file, _read(file, checkout) or {}) if file.is_file() else (None, {})
    around = [folder, *(each for each in folder.parents if each.is_relative_to(checkout.folder))]
    for path in (each / name for each in around for name in _NAMES):
        values = _read(path, checkout) if path.is_file() else None
        if values is not None:
            return path, values
    return None, {}


def _read(path: Path, checkout: Checkout) -> Mapping[str, object] | None:
    """The settings of pytest in a file; None if it holds none."""
    if path.suffix != ".toml":
        return _of_ini(path, checkout)
    data = _toml(path, checkout)
    if path.name.endswith("pytest.toml"):
        return data.get("pytest", {})  # type: ignore[no-any-return]  # TOML holds what it likes
    table = data.get("tool", {}).get("pytest", {})
    return {**table, **table.get("ini_options", {})} or None


def _toml(path: Path, checkout: Checkout) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, checkout, error) from error


def _unreadable(path: Path, checkout: Checkout, error: Exception) -> ConfigError:
    said = " ".join(str(error).split()).removeprefix(f"{path}:")
    return ConfigError(f"{path.name} at {checkout.facts.short} cannot be read: {said}.")


def _of_ini(path: Path, checkout: Checkout) -> Mapping[str, object] | None:
    section = "tool:pytest" if path.suffix == ".cfg" else "pytest"
    try:
        sections = iniconfig.IniConfig(str(path)).sections
    except (iniconfig.ParseError, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, checkout, error) from error
    if section in sections:
        return sections[section]
    return {} if path.name.endswith("pytest.ini") else None


def _converted(value: object, option: Option) -> object:
    """A value as pytest's ini type of the option has it."""
    if not isinstance(value, str):
        return value
    if option.kind in ("list", "names"):
        return [line.strip() for line in value.splitlines() if line.strip()]
    return value.strip().lower() in _TRUE if option.kind == "flag" else value


def _typed(config: pytest.Config, ini: Mapping[str, object]) -> argparse.Namespace:
    """What the command line says of our options, behind the ``addopts`` of the commit."""
    addopts = ini.get("addopts", "")
    lines = shlex.split(addopts) if isinstance(addopts, str) else addopts if isinstance(addopts, list) else []
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-o", "--override-ini", action="append")
    for option in OPTIONS:
        given: dict[str, Any] = {"dest": "llmci_" + option.name, "default": None}
        given["action"] = {"list": "append", "names": "append", "flag": "store_true"}.get(option.kind, "store")
        if option.kind in ("name", "names"):
            given |= {"nargs": "?", "const": UNNAMED}
        parser.add_argument(*option.flags, **given)
    return parser.parse_known_args([*map(str, lines), *_arguments(config)])[0]


class _Parser(argparse.ArgumentParser):
    """Does not end the process."""

    def error(self, message: str) -> Any:
        raise ConfigError(f"addopts of that commit: {message}.")


def _arguments(config: pytest.Config) -> Iterator[str]:
    yield from shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    yield from (str(argument) for argument in config.invocation_params.args)


def _table(root: Path, checkout: Checkout) -> Mapping[str, Given]:
    """``[tool.llmci]`` at the commit; of it only what is taken from there, so that an old name stops nobody."""
    path = root / "pyproject.toml"
    values = _toml(path, checkout).get("tool", {}).get("llmci", {}) if path.is_file() else {}
    kept = {name: values[name] for name in SUBJECT_SETTINGS if name in values}
    return read_table(kept, f"{path.name} at {checkout.facts.short}: [tool.llmci]")
