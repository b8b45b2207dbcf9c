"""Suites and their cells by node id on the command line: ``pytest --llm-models=... inference::smollm2-tcp-udp``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ..errors import ConfigError
from ..settings import SUITES, Settings, Sourced, suite_name


@dataclass(frozen=True, slots=True)
class SuiteIds:
    """The arguments that name a suite, or a cell of one, and no file."""

    given: tuple[str, ...] = ()
    nothing_else: bool = False
    """Whether single tests were asked for, by node id, and nothing beside them: neither a file nor, by its flag, a suite."""

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites that they belong to."""
        return tuple(dict.fromkeys(map(_suite_of, self.given)))

    def added_to(self, settings: Settings) -> Settings:
        """The settings, with the suites that the ids name."""
        more = [name for name in self.suites if name not in settings.suites]
        tasks = [Sourced(name, "command line") for name in more if name not in SUITES]
        return replace(settings, suites=(*settings.suites, *more), tasks=(*settings.tasks, *tasks))

    def unknown(self, nodeids: Iterable[str]) -> list[str]:
        """A line for each id that is not there.

        :param nodeids: of all cells of the suites.
        """
        known = set(nodeids)
        return [_no_such_cell(each, known) for each in self.given if "::" in each and each not in known]

    def leaves_out(self, nodeid: str) -> bool:
        """Whether a cell was not asked for; false where its suite was, or where the settings' suites run beside the tests."""
        suite = _suite_of(nodeid)
        if suite not in self.suites:
            return self.nothing_else
        return suite not in self.given and nodeid not in self.given


def take_suite_ids(config: pytest.Config) -> SuiteIds:
    """Take them out of what pytest will look for as files; where nothing else was given, it will look for nothing."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return SuiteIds()
    from ..tasks import TASKS

    here = config.invocation_params.dir
    named = (part for text in config.getoption("llmci_suite", None) or () for part in text.split(","))
    known = {*SUITES, *TASKS, *map(suite_name, named)}
    given = [
        argument
        for argument in config.args
        if _suite_of(argument) in known and not _is_there(here / _suite_of(argument), argument)
    ]
    nothing_else = not config.getoption("llmci_suite", None) and all("::" in argument for argument in config.args)
    config.args = [argument for argument in config.args if argument not in given]
    return SuiteIds(tuple(dict.fromkeys(given)), nothing_else)


def deselect(ids: SuiteIds, items: list[pytest.Item], cells: Sequence[pytest.Item], config: pytest.Config) -> None:
    """Take out of ``items``, in place, the cells that were not asked for; as with ``-k``, pytest counts them.

    :raises ConfigError: if a cell was asked for that no suite has.
    """
    if not ids.given and not ids.nothing_else:
        return
    wrong = ids.unknown(cell.nodeid for cell in cells)
    if wrong:
        raise ConfigError("\n".join(wrong))
    left_out = [cell for cell in cells if ids.leaves_out(cell.nodeid)]
    if left_out:
        gone = set(map(id, left_out))
        items[:] = [item for item in items if id(item) not in gone]
        config.hook.pytest_deselected(items=left_out)


def _is_there(path: Path, argument: str) -> bool:
    """Whether pytest will find a file of the user's own under that argument; a folder has no tests of its own."""
    return path.is_file() if "::" in argument else path.exists()


def _suite_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _no_such_cell(given: str, known: set[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{given}: no such cell.{hint} Add --collect-only -q to '{_suite_of(given)}' alone to list all {len(known)}."
