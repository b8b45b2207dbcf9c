"""What the terminal shows: header, progress, summary, hints."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from ..engine.comparisons.streak import runs_undecided
from ..engine.observer import Silent
from ..engine.reports.tables import NARROWEST_NAME, summary_lines
from ..records import Cell, ModelSpec
from ..text import clipped, how_many, one_line, plain, shortened, wrapped
from ..units import format_duration
from .announcing import SHORT_S, Announcer
from .coverage import VERDICT_ATTRIBUTE
from .failures import rewrite_failure
from .gates import GATE_FILE
from .github import failure_annotations

if TYPE_CHECKING:
    from .armed import ArmedPlugin

LOADED_EXAMPLE = "(loaded in 27.3 µs) "
"""What follows the name of a model in its line; a name is cut to leave room for it."""
LEAST_SAID = 30
"""Of a longer text so much is worth the rest of a line."""
NOT_AT_A_TEST = -2
"""What pytest calls a line behind which the next test begins a new one."""
NARROW = 80
PROGRESS_COLUMNS = len(". [100%]") + 1
"""Room for a letter and pytest's own progress."""


class Terminal(Silent):
    """Writes through pytest's own terminal reporter; silent under ``-qq``."""

    def __init__(self, config: pytest.Config, plugin: ArmedPlugin) -> None:
        self._config = config
        self._plugin = plugin
        self._announcer = Announcer(plugin)
        self._model = ""
        """Alias whose line is being written; empty outside of a suite."""
        self._suite = ""
        """Suite of that line."""
        self._bracket = ""
        """What has to be written before the next dot: the rest of an open bracket."""
        self._apart = ""
        """What keeps the next text from the letters before it."""
        self._status = ""
        self._last_tick_s = 0
        self._began_ns = 0
        self._doing = ""
        show_as_they_are(config, {*plugin.settings.suites, GATE_FILE})

    @cached_property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.getplugin("terminalreporter")

    @property
    def _verbosity(self) -> int:
        return self._config.get_verbosity()

    # --------------------------------------------------------------------------------------------------------- header

    def pytest_report_header(self) -> list[str]:
        """One line: what will be measured."""
        if self._verbosity < -1 or not (self._plugin.planner.specs or self._plugin.replayed):
            return []
        return self._told(self._announcer.before_collection())

    def _told(self, texts: Sequence[str]) -> list[str]:
        """Each as ``llmci: ...``, in lines that fit."""
        return [line for text in texts for line in wrapped(f"llmci: {one_line(text)}", self.width(), rest="  ")]

    def pytest_report_collectionfinish(self) -> list[str]:
        """What is compared, what that costs, and what it will be able to see."""
        return self._told(self._announcer.after_collection()) if self._verbosity >= -1 else []

    def width(self) -> int:
        """Columns of the terminal."""
        reporter = self._reporter
        return reporter._tw.fullwidth if reporter is not None else NARROW

    def pytest_collection_finish(self) -> None:
        """The plan, where that is all that was asked for."""
        if self._plugin.settings.plan and self._reporter is not None:
            from .plan_table import PlanTable

            PlanTable(self._plugin, self._reporter, self._verbosity).print()

    # ------------------------------------------------------------------------------------------------------- progress

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A line for each model of a suite: ``inference::smollm2 (loaded in 3.1 s) ....``."""
        reporter = self._reporter
        if reporter is None or not reporter.showfspath or reporter.showlongtestinfo:
            return
        place = nodeid.partition("::")[0]
        known = self._plugin.collected.selected.get(nodeid)
        alias = known[0].model.alias if known is not None and place in self._plugin.settings.suites else ""
        if nodeid in self._plugin.collected.tasks:
            alias = self._plugin.collected.tasks[nodeid].model.alias
        if place == GATE_FILE:
            self._begin_line(place)
        elif alias and (alias, place) != (self._model, self._suite):
            self._begin_line(place, alias)
        self._model, self._suite = alias, place

    def _begin_line(self, place: str, alias: str = "") -> None:
        """What pytest does for the first test of a file, with a label of our own; a gate comes after its last percentage."""
        reporter = self._reporter
        self._end_line(progress=reporter.currentfspath is not None)
        reporter.currentfspath = self._config.rootpath / place
        room = reporter._tw.fullwidth - len(f"{place}:: {LOADED_EXAMPLE}") - PROGRESS_COLUMNS
        shown = f"{place}::{shortened(alias, max(room, NARROWEST_NAME))}" if alias else place
        reporter._tw.write(f"{shown} ", flush=True)
        self._apart = ""

    def _end_line(self, *, progress: bool = True) -> None:
        """With pytest's own percentage, where it has one to tell."""
        reporter = self._reporter
        if progress and reporter._show_progress_info and not reporter._is_last_item:
            reporter._write_progress_information_filling_space()
        reporter._tw.line()

    def loading(self, spec: ModelSpec) -> None:
        self._doing = f"loading {spec.alias}"
        self._began_ns = self._now()
        self.tick()

    def say(self, text: str) -> None:
        self._doing = one_line(text)
        self._began_ns = self._now()
        if self._reporter is not None and self._verbosity >= -1 and not self._is_tty:
            with self._uncaptured():
                if self._reporter.showlongtestinfo:
                    self._say_apart()
                else:
                    self._say_within()
        self.tick()

    def _say_apart(self) -> None:
        """In a line of its own, where each test has one; what follows begins a new one."""
        reporter = self._reporter
        reporter.ensure_newline()
        self._write(clipped(f"llmci: {self._doing}", reporter._tw.fullwidth - 1))
        reporter.currentfspath = NOT_AT_A_TEST

    def _say_within(self) -> None:
        """Between the letters of a line; in a new one where too little of it is left."""
        before = self._apart + self._bracket
        writer = self._reporter._tw
        room = writer.fullwidth - len(f"{before} ... ") - PROGRESS_COLUMNS
        if writer.width_of_current_line and room - writer.width_of_current_line < min(len(self._doing), LEAST_SAID):
            self._write(self._bracket)
            self._end_line()
            before = ""
        text = clipped(self._doing, max(room - writer.width_of_current_line, NARROWEST_NAME))
        self._write(f"{before}{text} ... ")
        self._apart = self._bracket = ""

    def loaded(self, spec: ModelSpec, seconds: float | None) -> None:
        self._doing = ""
        self._clear_status()
        if self._model == spec.alias:
            text = self._apart + ("(answers" if seconds is None else f"(loaded in {format_duration(seconds)}")
            if self._fits(text + ") "):
                self._write(text)
                self._apart, self._bracket = "", ") "

    def pair_begins(self, spec: ModelSpec, pair: int, most: int) -> None:
        self._doing = f"{spec.alias}: pair {pair + 1} of at most {most}"
        self._began_ns = self._now()
        text = f"{self._apart}{self._bracket}[pair {pair + 1}] "
        if pair and self._model == spec.alias and self._fits(text):
            self._write(text)
            self._apart = self._bracket = ""
        self.tick()

    def round_ended(self, cell: Cell, done: int, planned: int, seconds: float) -> None:
        if self._bracket and self._model == cell.model.alias:
            self._write(self._estimate(cell, planned, seconds) + self._bracket)
            self._bracket = ""
        if self._is_tty:
            self._doing = f"round {done} of {planned}"
            self._began_ns = self._now()
            self._show_status(f" {cell.id}: {self._doing}")

    def questions_answered(self, spec: ModelSpec, task: str, done: int, of: int) -> None:
        if self._bracket and self._model == spec.alias:
            self._write(self._bracket)
            self._bracket = ""
        self._doing = f"{task}: {done} of {of} questions"
        self._began_ns = self._now()
        self._show_status(f" {self._doing}")

    def _estimate(self, cell: Cell, planned: int, seconds: float) -> str:
        left = self._plugin.session.schedule.left_in_group(cell.model.alias)
        more = planned - self._plugin.settings.rounds  # of a cell that is undecided
        total = seconds * (self._plugin.planner.suite_answers(cell.model) + more) * left
        a_pair = " a pair" if self._plugin.comparing.against else ""
        about = f", about {format_duration(total)}{a_pair}" if total >= SHORT_S else ""
        return about if self._fits(about + self._bracket) else ""

    def _fits(self, text: str) -> bool:
        """Whether the line has room for it, for a letter and for pytest's own progress; always where nothing is written."""
        if self._reporter is None:
            return True
        writer = self._reporter._tw
        return bool(writer.width_of_current_line + len(text) + PROGRESS_COLUMNS <= writer.fullwidth)

    def tick(self) -> None:
        second = self._now() // 1_000_000_000
        if self._doing and second != self._last_tick_s:
            self._last_tick_s = second
            waited = (self._now() - self._began_ns) / 1e9
            self._show_status(f" {self._doing}, {waited:.0f} s")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Nothing of ours may stand where pytest writes its letter."""
        if self._bracket:
            self._write(self._bracket)
            self._bracket = ""
        if report.when == "call":
            self._apart = " "
        self._doing = ""
        self._clear_status()
        if report.failed and self._reporter is not None:
            rewrite_failure(report, self._sayable)

    def tests_ended(self) -> None:
        """Where tests have no lines of their own, what follows begins a new one."""
        reporter = self._reporter
        if reporter is None or reporter.showfspath or reporter.showlongtestinfo:
            return
        if reporter._tw.width_of_current_line:
            reporter._tw.line()

    def _now(self) -> int:
        return self._plugin.controller.clock.now_ns() if self._plugin.controller else 0

    @cached_property
    def _is_tty(self) -> bool:
        """Whether what goes on may be shown behind the cursor; of parallel workers nobody here knows how long it takes."""
        reporter = self._reporter
        if reporter is None or getattr(self._config.option, "dist", "no") != "no":
            return False
        return bool(reporter.isatty and reporter.hasmarkup and self._verbosity == 0)

    def _show_status(self, text: str) -> None:
        """Behind the cursor, which stays where it is; overwritten by whatever comes next."""
        if not self._is_tty:
            return
        writer = self._reporter._tw
        room = writer.fullwidth - writer.width_of_current_line - 10
        if room < 12:
            return
        self._status = clipped(text, room)
        self._raw(f"\x1b7\x1b[2m{self._status}\x1b[0m\x1b[K\x1b8")

    def _clear_status(self) -> None:
        if self._status:
            self._raw("\x1b[K")
            self._status = ""

    def _raw(self, text: str) -> None:
        with self._uncaptured():
            file = self._reporter._tw._file
            file.write(text)
            file.flush()

    def _write(self, text: str) -> None:
        if self._reporter is not None:
            with self._uncaptured():
                self._reporter._tw.write(self._sayable(text), flush=True)

    def _sayable(self, text: str) -> str:
        """The text as the terminal's encoding can carry it, with ``us`` for microseconds.

        pytest itself would escape all of it in one go, line ends included, and shift the columns of a table.
        """
        encoding = self._encoding
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return text.replace("µs", "us").encode(encoding, "backslashreplace").decode(encoding)
        return text

    @cached_property
    def _encoding(self) -> str:
        return getattr(self._reporter._tw._file, "encoding", None) or "utf-8"

    @contextmanager
    def _uncaptured(self) -> Iterator[None]:
        manager = self._config.pluginmanager.getplugin("capturemanager")
        if manager is None:
            yield
            return
        with manager.global_and_fixture_disabled():
            yield

    # -------------------------------------------------------------------------------------------------------- verdicts

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """An undecided cell has its own letter and count; failures keep pytest's."""
        if getattr(report, VERDICT_ATTRIBUTE, "") == "inconclusive" and self._plugin.settings.inconclusive == "warn":
            return "inconclusive", "?", ("INCONCLUSIVE", {"yellow": True})
        return None

    def pytest_terminal_summary(self) -> None:
        """The table, what was gated, where it lies."""
        reporter, controller = self._reporter, self._plugin.controller
        if reporter is None or controller is None or not controller.measures or self._verbosity < -1:
            return
        if controller.finished is None:
            if controller.unfinished:
                self._write_lines([f"llmci: {one_line(controller.unfinished)}"], red=True)
            return
        report = controller.finished.report
        if self._plugin.replayed is not None:
            self._print_not_replayed(self._plugin.replayed.run_id)
        if not report.models:
            return
        reporter.ensure_newline()
        again = f", replayed from {report.replayed_run}" if report.replayed_run else ""
        reporter.section(f"llmci: {how_many(len(report.models), 'model')}{again}", sep="=")
        gated = bool(self._plugin.planner.budgets or self._plugin.comparing.asked_for)
        gated = gated or any(plan.budgets or plan.samples for _, plan in self._plugin.collected.selected.values())
        gated = gated or any(
            cell.budgets or cell.samples for cell in report.cells
        )  # parallel workers collect, and this process does not
        lines = summary_lines(
            report,
            controller.finished.saved,
            width=reporter._tw.fullwidth,
            gated=gated,
            hints=self._verbosity >= 0,
            further=controller.finished.further,
            streak=runs_undecided(report, self._plugin.planner.output_folder),
        )
        self._write_lines(lines)
        self._write_lines(map(one_line, controller.finished.sent))  # with addresses and commands to copy: not wrapped
        self._write_lines((f"warning: {one_line(each)}" for each in controller.finished.warnings), yellow=True)
        self._write_lines(failure_annotations(report, os.environ))

    def _write_lines(self, lines: Iterable[str], **markup: bool) -> None:
        for line in lines:
            self._reporter.write_line(self._sayable(line), **markup)

    def _print_not_replayed(self, run_id: str) -> None:
        from ..engine.replay import told

        controller = self._plugin.controller
        lines = told(controller.not_replayed, run_id) if controller else []
        if lines:
            self._reporter.ensure_newline()
        for line in lines:
            self._reporter.write_line(self._sayable(plain(line)), yellow=True)


def show_as_they_are(config: pytest.Config, names: Collection[str]) -> None:
    """Keep node ids of ours from being shown as files: in a subdirectory pytest would write ``../inference::...``.

    :param names: what stands in the place of a file in such ids.
    """
    relative: Any = config.cwd_relative_nodeid

    def shown(nodeid: Any) -> Any:  # text, or an object of pytest 9.2 and newer
        return nodeid if str(nodeid).partition("::")[0] in names else relative(nodeid)

    config.cwd_relative_nodeid = shown  # type: ignore[method-assign]  # there is no hook that is asked
