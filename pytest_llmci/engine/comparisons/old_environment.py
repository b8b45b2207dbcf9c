"""A virtual environment with the packages that the lock file of another commit names, made once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...backends.cache import locked, write_atomically
from ...errors import ConfigError
from ...text import one_line

Say = Callable[[str], None]
_UV_LOCKS: Final = ("uv.lock", "pylock.toml")
_OTHER_LOCKS: Final = (
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "conda-lock.yml",
    "pixi.lock",
    "environment.yml",
    "environment.yaml",
)
_REQUIREMENTS: Final = ("requirements.lock", "requirements-lock.txt", "requirements.txt")
"""Taken in this order; any other ``requirements*.txt`` only where it is the only one."""
_MADE: Final = "llmci.json"
_FORMAT: Final = "1"
"""Of an entry; another one is built anew."""
_LINES_OF_A_FAILURE: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """How the packages are installed."""

    files: tuple[Path, ...]
    """That say what is installed; the first one is shown."""
    commands: Callable[[Path], Iterator[list[str]]]
    """The installer's, for an environment in that folder."""
    with_pip: bool = True


def old_environment(folder: Path, where: str, cache_dir: Path, say: Say) -> Path:
    """The environment of a checkout, built where it is not there yet.

    :param folder: of the project in the worktree: where its lock file or list of requirements lies.
    :param where: what asked for it, for messages: ``--llmci-versus-python=auto``.
    :param cache_dir: the user's cache; the environment goes below it.
    :param say: gets one line when the slow part begins.
    :returns: folder of the environment, for ``+python=``.
    :raises ConfigError: if there is no list of packages, or they cannot be installed.
    """
    plan = _plan(folder, where)
    entry = cache_dir / "environments" / _digest(plan.files)
    if (entry / _MADE).is_file():
        return entry
    try:
        with locked(
            entry.with_name(f"{entry.name}.lock"),
            lambda: say("waiting for another session that builds this environment"),
        ):
            if not (entry / _MADE).is_file():
                say(f"building an environment from {plan.files[0].name} (once)")
                _build(entry, plan, folder, where)
    except OSError as error:
        raise ConfigError(
            f"{where}: the environment cannot be kept in {entry.parent}: {error.strerror or error}; set LLMCI_CACHE_DIR to a folder with"
            " room."
        ) from error
    return entry


def _plan(folder: Path, where: str) -> _Plan:
    """:raises ConfigError: if nothing there says which packages are needed, or nothing here can install them."""
    lock = next((folder / name for name in _UV_LOCKS if (folder / name).is_file()), None)
    requirements = _requirements(folder, where) if lock is None or shutil.which("uv") is None else None
    if lock is not None and requirements is None:
        if shutil.which("uv") is None:
            raise ConfigError(
                f"{where}: {lock.name} needs the command uv, which is not installed: pip install uv, or give +python=."
            )
        return _uv_plan(lock)
    if requirements is not None:
        return _Plan(
            files=_with_included(requirements), commands=lambda made: iter([_pip(made, "-r", str(requirements))])
        )
    constraints = sorted(folder.glob("constraints*.txt"))
    project = folder / "pyproject.toml"
    wanted = _dependencies(project) if constraints else ()
    if wanted:
        given = [part for file in constraints for part in ("-c", str(file))]
        return _Plan(files=(*constraints, project), commands=lambda made: iter([_pip(made, *given, *wanted)]))
    other = next((name for name in _OTHER_LOCKS if (folder / name).is_file()), "")
    found = f"{other} cannot be read here" if other else "there is neither uv.lock, pylock.toml nor requirements.txt"
    raise ConfigError(
        f"{where}: {found} at that commit; build the environment yourself and give it: --llmci-versus=git:REV+python=/path/to/venv."
    )


def _requirements(folder: Path, where: str) -> Path | None:
    known = [folder / name for name in _REQUIREMENTS if (folder / name).is_file()]
    if known:
        return known[0]
    others = sorted(folder.glob("requirements*.txt"))
    if len(others) > 1:
        names = ", ".join(file.name for file in others)
        raise ConfigError(
            f"{where}: which of {names} is meant? Build the environment yourself and give +python=/path/to/venv."
        )
    return others[0] if others else None


def _with_included(file: Path) -> tuple[Path, ...]:
    """A list of requirements, those that it includes, and the project that it may install."""
    found: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        each = waiting.pop()
        if each in found or not each.is_file():
            continue
        found[each] = None
        words = [line.split(maxsplit=1) for line in each.read_text("utf-8", "replace").splitlines()]
        waiting += [each.parent / parts[1].strip() for parts in words if len(parts) == 2 and parts[0] in ("-r", "-c")]
    return (
        *found,
        *(path for name in ("pyproject.toml", "setup.py", "setup.cfg") if (path := file.parent / name).is_file()),
    )


def _dependencies(project: Path) -> tuple[str, ...]:
    """What the project needs; nothing where its ``pyproject.toml`` does not say."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        data: dict[str, Any] = tomllib.loads(project.read_text("utf-8"))
        return tuple(map(str, data["project"].get("dependencies", ())))
    return ()


def _uv_plan(lock: Path) -> _Plan:
    def commands(made: Path) -> Iterator[list[str]]:
        python = str(_interpreter(made))
        if lock.name != "uv.lock":
            yield ["uv", "pip", "sync", "--python", python, str(lock)]
            return
        listed = made / "requirements.txt"
        # The project itself is imported from the worktree.
        yield ["uv", "export", "--quiet", "--frozen", "--no-emit-project", "--all-groups", "--output-file", str(listed)]
        yield ["uv", "pip", "install", "--python", python, "-r", str(listed)]

    return _Plan(files=(lock,), commands=commands, with_pip=False)


def _pip(made: Path, *arguments: str) -> list[str]:
    return [
        str(_interpreter(made)),
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        *arguments,
    ]


def _interpreter(made: Path) -> Path:
    return made / "Scripts" / "python.exe" if os.name == "nt" else made / "bin" / "python"


def _digest(files: Sequence[Path]) -> str:
    """Of what is installed and for which Python. Nothing of ours is: a model's process needs only what its backend imports."""
    parts = [_FORMAT, sys.implementation.cache_tag or "", platform.python_version(), platform.machine(), sys.platform]
    digest = hashlib.sha256("\n".join(parts).encode())
    for file in files:
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:32]


def _build(entry: Path, plan: _Plan, folder: Path, where: str) -> None:
    """Make the environment in its place; whole only when its last file is there."""
    shutil.rmtree(entry, ignore_errors=True)
    try:
        # -I: nothing of this session's import path may pass for installed.
        _run(
            [sys.executable, "-I", "-m", "venv", *(() if plan.with_pip else ("--without-pip",)), str(entry)],
            folder,
            where,
        )
        for command in plan.commands(entry):
            _run(command, folder, where)
        write_atomically(entry / _MADE, json.dumps({"made_from": [file.name for file in plan.files]}))
    except BaseException:
        shutil.rmtree(entry, ignore_errors=True)
        raise


def _run(command: Sequence[str], folder: Path, where: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode != 0:
            said.seek(0)
            lines = [line for line in said.read().decode("utf-8", "replace").splitlines() if line.strip()]
            last = (
                " | ".join(one_line(line) for line in lines[-_LINES_OF_A_FAILURE:]) or f"exit status {done.returncode}"
            )
            tool = "uv" if command[0] == "uv" else " ".join(command[2:4])
            raise ConfigError(
                f"{where}: the environment cannot be built ({tool}): {last}; build it yourself and give +python=."
            )
