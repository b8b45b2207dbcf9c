"""Documents from the Hugging Face hub, through ``datasets``: only where that is installed, and said before it happens."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any, Final

from ..errors import ConfigError, MissingExtraError, described
from .base import Doc, Task

_OFFLINE: Final = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def is_there() -> bool:
    """Whether ``datasets`` is installed. Imports nothing."""
    return importlib.util.find_spec("datasets") is not None


def offline_by() -> str:
    """The variable that keeps us from the network; empty if none does."""
    return next((name for name in _OFFLINE if os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON")), "")


def address(task: Task, subject: str = "") -> str:
    """What will be asked for, as people write it."""
    assert task.hub is not None
    name = subject if task.hub.name == "" else task.hub.name
    return f"hub: {task.hub.path}{f' ({name})' if name else ''}, {task.hub.split}"


def announcement(task: Task) -> str:
    """What the session says of it before anything is fetched."""
    assert task.hub is not None
    variable = offline_by()
    if variable:
        return f"{task.name}: {task.hub.path} from the cache alone, as {variable} is set"
    instead = f"a file is taken with --llmci-suite={task.name}:PATH"
    return f"{task.name}: will be fetched from the hub, unless it is in the cache: {task.hub.path}; {instead}"


def hub_docs(task: Task, subject: str = "", *, examples: bool = False) -> list[Doc]:
    """The documents, or those that examples are taken from.

    :raises ConfigError: in one line, if they cannot be had or a row is malformed.
    """
    hub = task.hub
    if hub is None or not is_there():
        raise MissingExtraError(nowhere(task))
    name = subject if hub.name == "" else hub.name
    split = hub.examples_split if examples else hub.split
    try:
        loaded: Any = importlib.import_module("datasets")
        loaded.disable_progress_bars()
        rows: Any = loaded.load_dataset(hub.path, name, split=split)
    except Exception as error:  # of many libraries: the network, the cache, the format
        state = f" ({offline_by()} is set)" if offline_by() else ""
        raise ConfigError(
            f"{task.name}: {hub.path} cannot be had from the hub{state}: {described(error)[:200]}."
            f" Give a file: --llmci-suite={task.name}:PATH."
        ) from error
    where = f"{hub.path} {split}"
    return [task.doc(row, f"{where}, row {number}") for number, row in enumerate(rows, 1)]


def nowhere(task: Task) -> str:
    """There is no file, and the hub is no way either."""
    advice = "" if task.hub is None else '; or pip install "pytest-llmci[eval]", with which it is fetched from the hub'
    return (
        f"--llmci-suite: {task.name}: no file was given; name one, --llmci-suite={task.name}:PATH, or a folder for all"
        f" tasks, --llmci-task-data=DIR{advice}."
    )
