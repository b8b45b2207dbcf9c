"""The command that runs one test again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import pytest

from .items import CellItem
from .options import ARMING_FLAGS, OPTIONS

_KEYWORD = re.compile(r"[\w:+.\[\]/-]+")
"""What ``-k`` takes without quotes of its own."""


def repeat_command(item: pytest.Item) -> list[str]:
    """The command as parts that belong together, each quoted for a shell: ``pytest``, ``--llm-models=echo``, ``-k "echo-tcp"``."""
    arguments = [str(argument) for argument in item.config.invocation_params.args]
    armed = any(argument.partition("=")[0] in ARMING_FLAGS for argument in arguments)
    start = ["pytest" if armed else "LLMCI=1 pytest", *options_given(arguments)]
    if isinstance(item, CellItem):
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


def _id(item: pytest.Item) -> Any:
    """The node id as this pytest hands it about: an object from 9.2 on, text before."""
    return getattr(item, "id", item.nodeid)


def options_given(arguments: Sequence[str]) -> list[str]:
    """Our options among a command line's arguments, each with its value.

    >>> options_given(["-x", "tests", "--llm-models", "tiny", "--llmci-budget=ttft <= 1s", "--llmci"])
    ['--llm-models tiny', "'--llmci-budget=ttft <= 1s'", '--llmci']
    """
    with_value = {flag for option in OPTIONS if option.kind != "flag" for flag in option.flags}
    given: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in with_value:
            given.append(f"{argument} {shlex.quote(next(rest, ''))}")
        elif argument.startswith(("--llm-", "--llmci")):
            given.append(shlex.quote(argument))
    return given
