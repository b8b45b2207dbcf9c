"""The command that runs one test again."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from .items import CellItem, TaskItem
from .options import ARMING_FLAGS, OPTIONS

WRITING = ("save_baseline", "update_baseline")
"""Options that one test alone must not carry out again: it would be all that the baseline holds."""
_NOT_MEASURING = ("baseline", *WRITING, "plan")
"""Options that a command to measure with is not to have: it compares with nothing yet, and writes what it is told to."""
_COLLECTING = ("--collect-only", "--co")
_KEYWORD = re.compile(r"[\w:+.\[\]/-]+")
"""What ``-k`` takes without quotes of its own."""


def repeat_command(item: pytest.Item) -> list[str]:
    """The command as parts that belong together, each quoted for a shell: ``pytest``, ``--llm-models=echo``, ``-k "echo-tcp"``."""
    arguments = [str(argument) for argument in item.config.invocation_params.args]
    start = [" ".join(_start(arguments, variables_given(os.environ))), *options_given(arguments)]
    if isinstance(item, TaskItem):
        return [*start, shlex.quote(item.nodeid)]
    if isinstance(item, CellItem) and item.is_of_suite:
        suite = item.nodeid.partition("::")[0]
        if any(
            argument.partition("::")[0] == suite for argument in arguments
        ):  # nothing else asked for the suite, perhaps
            return [*start, shlex.quote(item.nodeid)]
        return [*start, f'-k "{item.name}"']
    # With its path, as a suite that was asked for on the command line runs alone where no path is given.
    path, _, rest = str(item.config.cwd_relative_nodeid(_id(item))).partition("::")
    if _KEYWORD.fullmatch(item.name):
        return [*start, shlex.quote(path), f'-k "{item.name}"']
    return [*start, shlex.quote(f"{path}::{rest}")]


def measuring_command(config: pytest.Config) -> str:
    """The user's command, quoted for a shell, without what compares with baselines or writes them."""
    flags = {*_COLLECTING, *(flag for option in OPTIONS if option.name in _NOT_MEASURING for flag in option.flags)}
    given = [str(argument) for argument in config.invocation_params.args]
    kept = [argument for argument in given if argument.partition("=")[0] not in flags]
    return " ".join([*_start(kept, variables_given(os.environ, _NOT_MEASURING)), *map(shlex.quote, kept)])


def _start(arguments: Sequence[str], variables: Sequence[str]) -> list[str]:
    """``pytest`` behind the variables that it needs; armed."""
    armed = any(argument.partition("=")[0] in ARMING_FLAGS for argument in arguments)
    return [*([] if armed or "LLMCI=1" in variables else ["LLMCI=1"]), *variables, "pytest"]


def _id(item: pytest.Item) -> Any:
    """The node id as this pytest hands it about: an object from 9.2 on, text before."""
    return getattr(item, "id", item.nodeid)


def variables_given(environ: Mapping[str, str], left_out: Sequence[str] = WRITING) -> list[str]:
    """Our options among the environment's variables, as a shell takes them in front of a command.

    :param left_out: names of options that are not wanted.

    >>> variables_given({"LLMCI": "1", "LLMCI_MODELS": "a=echo,b=echo", "HOME": "/home/me", "LLMCI_LOCK_FILE": "/tmp/lock"})
    ['LLMCI=1', 'LLMCI_MODELS=a=echo,b=echo']
    """
    names = ["LLMCI", *("LLMCI_" + option.name.upper() for option in OPTIONS if option.name not in left_out)]
    return [f"{name}={shlex.quote(environ[name])}" for name in names if environ.get(name, "").strip()]


def options_given(arguments: Sequence[str]) -> list[str]:
    """Our options among a command line's arguments, each with its value, but those that write a baseline.

    >>> options_given(["-x", "tests", "--llm-models", "tiny", "--llmci-budget=ttft <= 1s", "--llmci"])
    ['--llm-models tiny', "'--llmci-budget=ttft <= 1s'", '--llmci']
    """
    with_value = {flag for option in OPTIONS if option.kind in ("list", "one", "number") for flag in option.flags}
    writing = {flag for option in OPTIONS if option.name in WRITING for flag in option.flags}
    given: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in with_value:
            given.append(f"{argument} {shlex.quote(next(rest, ''))}")
        elif argument.startswith(("--llm-", "--llmci")) and argument.partition("=")[0] not in writing:
            given.append(shlex.quote(argument))
    return given
