"""``--llmci-replay RUN``: which run that is, and what becomes of a test that it cannot answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..engine.places import Places
from ..errors import ConfigError, NotReplayed, StoreError
from ..settings import SUITES, Settings
from ..store.runfolder import resolve_run

if TYPE_CHECKING:
    from ..engine.stored_answers import StoredAnswers

MARK = "not replayed: "
"""Before the reason of a skipped test."""


def replaying(config: pytest.Config, settings: Settings, places: Places) -> tuple[StoredAnswers, Settings]:
    """The run, and the settings of its replay. Parallel workers are handed the folder and the suite that the controller settled on.

    :raises ConfigError: if there is no such run, it cannot be read, or the session asks for what is for live numbers.
    """
    from ..engine.replay import adopt
    from ..engine.stored_answers import StoredAnswers

    origin = settings.origins["replay"]
    output = places.of(settings.origins.get("output", "--")) / settings.output
    try:
        folder = resolve_run(settings.replay, output).resolve()
        run = StoredAnswers(folder)
        found = adopt(settings, run, suite=config.args_source is not pytest.Config.ArgsSource.ARGS)
    except (ConfigError, StoreError) as error:
        raise ConfigError(f"{origin}: {error}" if not str(error).startswith("--") else str(error)) from error
    if not hasattr(config, "workerinput"):
        config.option.llmci_replay = str(folder)
        if found.suites:
            config.option.llmci_suite = [
                *(name for name in found.suites if name in SUITES),
                *(task.text for task in found.tasks),
            ]
    return run, found


def cannot(error: NotReplayed, settings: Settings) -> BaseException:
    """What to raise in the test: it is skipped, or fails where nothing may stay undecided."""
    text = f"{MARK}{error}"
    if settings.inconclusive == "fail":
        return pytest.fail.Exception(text, pytrace=False)
    return pytest.skip.Exception(text, _use_item_location=True)  # -rs names the test, and not a line of a library


def reason_of(report: pytest.TestReport) -> str:
    """Why the test of a report was not replayed; empty if it was, or was skipped for another reason."""
    told = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    _, mark, reason = told.partition(MARK)
    return reason if mark else ""
