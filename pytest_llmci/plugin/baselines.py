"""The end of a session that is to become a baseline, or a part of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from ..engine.reports.report import SessionReport
from ..errors import LLMCIError
from ..records import Prompt, from_json
from ..redaction import masked_row
from ..text import how_many, shown_path, wrapped

if TYPE_CHECKING:
    from ..store.baseline_file import Saved
    from ..store.baseline_record import BaselineSession
    from .armed import ArmedPlugin


class BaselineKeeper:
    """Writes the baseline on the controller, once the log is closed, and says where."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._plugin = plugin
        self._failed: set[str] = set()
        """Node ids of what failed, in whatever phase."""
        self._said: tuple[str, dict[str, bool]] | None = None

    @property
    def warnings(self) -> list[str]:
        """What there is to say of the baselines that the session compares with."""
        return [warning for _, chosen in self._plugin.planner.baselines for warning in chosen.warnings]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A rerun that passes is no failure: its attempts before are reported as reruns."""
        if report.failed:
            self._failed.add(report.nodeid)

    def keep(self, report: SessionReport, prompts: Iterable[Mapping[str, Any]], exit_status: int | None) -> bool:
        """Write the baseline, if one was asked for and the session was not red.

        :param prompts: rows that were collected, as JSON.
        :param exit_status: of the session; None if it was stopped.
        :returns: False if it was asked for, and could have been written, and was not.
        """
        settings = self._plugin.settings
        name = settings.save_baseline or settings.update_baseline
        if not name:
            return True
        if why := self._why_red(report, exit_status):
            self._say(f"Baseline {name} was not written: {why}.", red=True)
            return True
        from ..store.baseline_file import save
        from ..store.baseline_log import baseline_of_log

        try:
            rows = [masked_row(from_json(Prompt, row), self._plugin.redactor) for row in prompts]
            project = self._plugin.config.rootpath
            record = baseline_of_log(report.folder, name, prompts=rows, project=project)
            saved = save(record, self._plugin.planner.baselines_folder, append=bool(settings.update_baseline))
        except (LLMCIError, OSError) as error:
            self._say(f"Baseline {name} was not written: {error}", red=True)
            return False
        self._say(_told(name, saved, report), green=True)
        return True

    def _why_red(self, report: SessionReport, exit_status: int | None) -> str:
        """Why the session may become no baseline; empty if it may."""
        if exit_status == pytest.ExitCode.NO_TESTS_COLLECTED:
            return "no test was run"
        if exit_status is None or exit_status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return "the session did not run to its end"
        if exit_status == pytest.ExitCode.OK:
            return ""
        undecided = {cell.test for cell in report.cells if cell.verdict == "inconclusive"}
        undecided |= {task.test for task in report.tasks if task.verdict == "inconclusive"}
        wrong = self._failed - undecided
        if self._failed and not wrong:
            return ""
        tests = f"{len(wrong)} test{'' if len(wrong) == 1 else 's'}" if wrong else "something"
        return f"{tests} failed, and what is wrong is no measure for what comes later"

    def _say(self, text: str, **markup: bool) -> None:
        self._said = (text, markup)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """One line, below the table."""
        if self._said is not None:
            text, markup = self._said
            terminalreporter.ensure_newline()
            for line in wrapped(text, terminalreporter.config.get_terminal_writer().fullwidth, rest="  "):
                terminalreporter.write_line(line, **markup)


def _told(name: str, saved: Saved, report: SessionReport) -> str:
    """Where it is, what is in it and what is not."""
    newest = saved.record.newest
    sessions = len(saved.record.sessions)
    added = "" if sessions == 1 else f", with the {sessions - 1} before"
    text = f"Baseline {name} saved in {shown_path(saved.path)} ({_size(newest)}{added}): commit it"
    measured = {cell.id for cell in report.cells if cell.rounds}
    left_out = len(measured - {cell.id for cell in newest.cells})
    if left_out:
        text += f". {how_many(left_out, 'cell')} left out: other timed work may have run at the same time"
    if saved.dropped:
        some = ", ".join(saved.dropped[:3]) + (", ..." if len(saved.dropped) > 3 else "")
        text += f". No longer in it: {how_many(len(saved.dropped), 'cell')} ({some})"
    return text


def _size(session: BaselineSession) -> str:
    tasks = how_many(len(session.tasks), "benchmark task")
    if not session.cells:
        return tasks
    rounds = sorted({cell.rounds for cell in session.cells})
    each = f"{rounds[0]} to {rounds[-1]} rounds" if len(rounds) > 1 else how_many(rounds[0], "round")
    more = f", {tasks}" if session.tasks else ""
    return f"{how_many(len(session.cells), 'cell')}, {each} each{more}"
