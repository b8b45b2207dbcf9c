"""What the terminal shows: header, progress, summary, hints."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ..clock import SystemClock
from ..engine.comparisons.streak import runs_undecided
from ..engine.estimate import estimate_seconds, read_history
from ..engine.observer import Silent
from ..engine.planner import INFERENCE
from ..engine.reports.tables import NARROWEST_NAME, summary_lines
from ..measure.anchor import TYPICAL_S
from ..measure.starts import START_TIMES
from ..records import Cell, ModelSpec
from ..runner.placement import threads_of
from ..settings import SUITE_MAX_NEW_TOKENS, Settings
from ..stats.looks import SESSION_ALPHA
from ..text import clipped, one_line, plain, shortened, wrapped
from ..units import format_duration
from .coverage import VERDICT_ATTRIBUTE
from .failures import rewrite_failure
from .gates import GATE_FILE
from .github import failure_annotations

if TYPE_CHECKING:
    from ..engine.task_cell import TaskCell
    from .armed import ArmedPlugin

SHORT_S = 5.0
"""Estimates below that are not worth a word."""
LOADED_EXAMPLE = "(loaded in 27.3 µs) "
"""What follows the name of a model in its line; a name is cut to leave room for it."""
NARROW = 80
PROGRESS_COLUMNS = len(". [100%]") + 1
"""Room for a letter and pytest's own progress."""


class Terminal(Silent):
    """Writes through pytest's own terminal reporter; silent under ``-qq``."""

    def __init__(self, config: pytest.Config, plugin: ArmedPlugin) -> None:
        self._config = config
        self._plugin = plugin
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
        texts = [
            self._describe(),
            *self._describe_tasks(),
            *self._describe_comparison(),
            *self._describe_tables(),
            *self._plugin.replaced,
            *self._plugin.planner.notes,
        ]
        return self._told(texts)

    def _told(self, texts: Sequence[str]) -> list[str]:
        """Each as ``llmci: ...``, in lines that fit."""
        return [line for text in texts for line in wrapped(f"llmci: {one_line(text)}", self.width(), rest="  ")]

    def _describe_tasks(self) -> list[str]:
        """What each benchmark asks; of the hub's, what will be fetched."""
        texts: list[str] = []
        for suite in dict.fromkeys(test.suite for test in self._plugin.planner.tasks):
            tests = [test for test in self._plugin.planner.tasks if test.suite == suite]
            if tests[0].announcement:
                texts.append(tests[0].announcement)
                continue
            sets = [test.load() for test in tests]
            asked = _count(sum(len(each.questions) for each in sets), "question")
            part = "" if all(each.is_whole for each in sets) else ", a part of the benchmark"
            text = f"{sets[0].label}, from {sets[0].source}" if len(sets) == 1 else f"{asked}, from {len(sets)} files"
            texts.append(f"{suite}: {text}{part}")
        return texts

    def _describe_comparison(self) -> list[str]:
        asked = self._plugin.comparing.asked_for
        return [f"compared with {asked}"] if asked else []

    def _describe_tables(self) -> list[str]:
        """What was joined to the models from tables that people bring."""
        published, planner = self._plugin.published, self._plugin.planner
        texts = published.summary(planner.specs) if published is not None else []
        texts += (
            planner.prices.describe(planner.specs, SystemClock().utc().date()) if planner.prices is not None else []
        )
        return texts

    def pytest_report_collectionfinish(self) -> list[str]:
        """What is compared, what that costs, and what it will be able to see."""
        comparing, s = self._plugin.comparing, self._plugin.settings
        if self._verbosity < -1:
            return []
        texts = [*self._describe_shard(), *comparing.notes()]
        if comparing.against is not None:
            first = any(name in START_TIMES for name in s.detect)  # it does not count for times of starts
            pairs = -(-s.max_rounds // s.block) + first
            models = len(comparing.against.specs)
            cost = (
                f"up to {_count(pairs, 'fresh pair')} of processes a model, {2 * pairs} loads{self._predicted_pair()}"
            )
            texts += [
                f"interleaved: {_count(comparing.against.cells, 'cell')}, {cost}, up to {s.max_rounds} rounds a side",
                visible_line(s, max(comparing.against.cells, models), models, self._units(comparing.against.specs)),
            ]
        return self._told(texts)

    def _units(self, references: Mapping[str, ModelSpec]) -> set[str]:
        """What may count as one value, of the models that are compared: ``round``, ``block``, or ``auto`` where the server decides."""
        from ..engine.comparisons.round_or_block import planned_unit

        own = {spec.alias: spec for spec in self._plugin.planner.specs}
        sides = [(own[alias], spec) for alias, spec in references.items() if alias in own]
        return {planned_unit(each) for each in sides}

    def _describe_shard(self) -> list[str]:
        """Which part of the matrix this is; where parallel workers collect, only they know more than its number."""
        shard, text = self._plugin.shard, self._plugin.settings.shard
        if shard is None:
            return [f"shard {text.replace('/', ' of ')}"] if text else []
        own = [at for at, number in enumerate(shard.shards) if number == shard.index]
        total, mean = sum(shard.costs), sum(shard.costs) / shard.of
        load = f", {sum(shard.costs[at] for at in own) / mean:.0%} of a fair share by {shard.costs_from or 'sizes'}"
        cells = sum(shard.cells[at] for at in own)
        what = f"{len(own)} of {_count(len(shard.models), 'model')}, {_count(cells, 'cell')}{load if total else ''}"
        return [f"shard {shard.index} of {shard.of}: {what} (plan {shard.plan})"]

    def _predicted_pair(self) -> str:
        """How long a pair of processes of every model takes, where all of them have run here before."""
        s, against = self._plugin.settings, self._plugin.comparing.against
        specs = against.specs if against else {}
        history = read_history(self._plugin.planner.output_folder, specs)
        total = 0.0
        for alias in specs:
            members = [(c, plan) for c, plan in self._plugin.collected.selected.values() if c.model.alias == alias]
            generation = members[0][1].generation if members else None
            tokens = generation.max_new_tokens if generation and generation.fixed_length else None
            answers = sum(min(s.block, plan.max_rounds) + max(1, plan.warmup) for _, plan in members)
            seconds = estimate_seconds(history, alias, answers=answers, tokens=tokens, anchored=s.anchor)
            if seconds is None:
                return ""
            total += 2 * seconds
        return f", about {format_duration(total)} a pair" if total >= SHORT_S else ""

    def width(self) -> int:
        """Columns of the terminal."""
        reporter = self._reporter
        return reporter._tw.fullwidth if reporter is not None else NARROW

    def _describe(self) -> str:
        s = self._plugin.settings
        if self._plugin.replayed is not None:
            run = self._plugin.replayed.header
            return f"replaying run {run.run_id}, measured {run.started[:16].replace('T', ' ')} UTC; no model is loaded"
        parts = [_count(len(self._plugin.planner.specs), "model")]
        if s.suites and INFERENCE not in s.suites:
            return f"{parts[0]}, {_threads(self._plugin.planner.specs, s.threads)}"
        prompts = len(self._plugin.planner.suite_prompts or self._plugin.planner.prompts)
        if prompts:
            parts.append(_count(prompts, "prompt"))
        parts.append(_count(s.rounds, "round"))
        tokens = f"{s.max_new_tokens or SUITE_MAX_NEW_TOKENS} tokens, " if INFERENCE in s.suites else ""
        threads = _threads(self._plugin.planner.specs, s.threads)
        extra = ", inline" if s.isolation == "inline" else ""
        return f"{' x '.join(parts)}, {tokens}{threads}{extra}{self._predicted(prompts)}"

    def _predicted(self, prompts: int) -> str:
        """How long a suite will take, where every model has run here before."""
        s = self._plugin.settings
        if INFERENCE not in s.suites:
            return ""
        planner, tokens = self._plugin.planner, s.max_new_tokens or SUITE_MAX_NEW_TOKENS
        history = read_history(planner.output_folder, [spec.alias for spec in planner.specs])
        known = [
            estimate_seconds(
                history, spec.alias, answers=prompts * planner.suite_answers(spec), tokens=tokens, anchored=s.anchor
            )
            for spec in planner.specs
        ]
        total = sum(seconds for seconds in known if seconds is not None)
        return f"; about {format_duration(total)}" if None not in known and total >= SHORT_S else ""

    def pytest_collection_finish(self) -> None:
        """The plan, where that is all that was asked for."""
        if self._plugin.settings.plan:
            self._print_plan()

    def _print_plan(self) -> None:
        reporter = self._reporter
        if reporter is None:
            return
        cells = self._plugin.collected.selected
        history = read_history(self._plugin.planner.output_folder, {cell.model.alias for cell, _ in cells.values()})
        reporter.section("llmci: plan", sep="=")
        groups: dict[str, list[Any]] = {}
        for cell, plan in cells.values():
            groups.setdefault(cell.model.alias, []).append((cell, plan))
        width = max([5, *map(len, groups)])
        passes = any(plan.memory_rounds for _, plan in cells.values())
        memory = f"  {'memory':>6}" if passes else ""
        reporter.write_line(
            f"{'model':<{width}}  {'cells':>5}  {'rounds':>6}  {'most':>6}{memory}  {'loads':>5}  predicted"
        )
        total: float | None = 0.0
        loads = 0
        for alias, members in groups.items():
            generation = members[0][1].generation
            seconds = estimate_seconds(
                history,
                alias,
                answers=sum(plan.answers for _, plan in members),
                tokens=generation.max_new_tokens if generation.fixed_length else None,
                anchored=self._plugin.settings.anchor,
            )
            in_pass = sum(plan.memory_rounds for _, plan in members)
            memory, starts = f"  {in_pass:>6}" if passes else "", 2 if in_pass else 1
            if self._plugin.comparing.asked_for:
                starts *= 2  # of one pair; an undecided model gets more
                seconds = None if seconds is None else 2 * seconds
            total = None if total is None or seconds is None else total + seconds
            loads += starts
            rounds, most = (sum(getattr(plan, name) for _, plan in members) for name in ("rounds", "max_rounds"))
            shown = format_duration(seconds) if seconds is not None else "unknown until it has run once"
            reporter.write_line(
                f"{alias:<{width}}  {len(members):>5}  {rounds:>6}  {most:>6}{memory}  {starts:>5}  {shown}"
            )
        self._print_task_plan(width)
        if self._plugin.settings.anchor:
            reporter.write_line(
                f"--llmci-anchor: about {format_duration(TYPICAL_S)} for the frozen model beside each round, some MiB in each process"
            )
        for nodeid in cells if self._verbosity > 0 else ():
            reporter.write_line(f"  {nodeid}")
        about = f", about {format_duration(total)}" if total else ""
        reporter.write_line(f"{_count(len(cells), 'cell')}, {_count(loads, 'load')}{about}. Nothing was loaded.")

    def _print_task_plan(self, width: int) -> None:
        """What benchmark tasks will ask; those of the hub are not read for a plan."""
        tasks = self._plugin.collected.tasks
        groups: dict[tuple[str, str], list[TaskCell]] = {}
        for nodeid in self._plugin.collected.selected_tasks:
            cell = tasks[nodeid]
            groups.setdefault((cell.model.alias, cell.test.suite), []).append(cell)
        for (alias, suite), members in groups.items():
            known = not any(cell.test.announcement for cell in members)
            asked = sum(len(cell.test.load().questions) for cell in members) if known else 0
            questions = _count(asked, "question") if known else "as many questions as the hub has"
            self._reporter.write_line(f"{alias:<{width}}  {suite}: {_count(len(members), 'test')}, {questions}")

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
        if reporter.currentfspath is not None and reporter._show_progress_info and not reporter._is_last_item:
            reporter._write_progress_information_filling_space()
        reporter.currentfspath = self._config.rootpath / place
        reporter._tw.line()
        room = reporter._tw.fullwidth - len(f"{place}:: {LOADED_EXAMPLE}") - PROGRESS_COLUMNS
        shown = f"{place}::{shortened(alias, max(room, NARROWEST_NAME))}" if alias else place
        reporter._tw.write(f"{shown} ", flush=True)
        self._apart = ""

    def loading(self, spec: ModelSpec) -> None:
        self._doing = f"loading {spec.alias}"
        self._began_ns = self._now()
        self.tick()

    def say(self, text: str) -> None:
        self._doing = one_line(text)
        self._began_ns = self._now()
        reporter = self._reporter
        if reporter is not None and reporter.showfspath and not reporter.showlongtestinfo and not self._is_tty:
            before = self._apart + self._bracket
            room = (
                reporter._tw.fullwidth - reporter._tw.width_of_current_line - len(f"{before} ... ") - PROGRESS_COLUMNS
            )
            if room >= NARROWEST_NAME:
                self._write(f"{before}{clipped(self._doing, room)} ... ")
                self._apart = self._bracket = ""
        self.tick()

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
        reporter = self._reporter
        return bool(reporter is not None and reporter.isatty and reporter.hasmarkup and self._verbosity == 0)

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
        reporter.section(f"llmci: {_count(len(report.models), 'model')}{again}", sep="=")
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


def visible_line(settings: Settings, cells: int, models: int, units: Collection[str] = ()) -> str:
    """The smallest change that a comparison will see in the end, by the noise of a busy shared machine.

    :param units: what counts as one value, of the models: ``round``, ``block``, or ``auto`` where their server decides.
    """
    from ..engine.comparisons.explain_comparison import percent
    from ..engine.comparisons.rules import DETECT
    from ..stats.by_block import LEAST_BLOCKS
    from ..stats.compare import GateSettings
    from ..stats.expected import expected_visible

    detect = settings.detect.get("", DETECT)
    pairs = -(-settings.max_rounds // settings.block)
    few = f"fewer than {LEAST_BLOCKS} decide nothing: --llmci-max-rounds={LEAST_BLOCKS * settings.block}"

    def seen(unit: Literal["round", "block"]) -> str:
        gate = GateSettings(detect=detect, alpha=SESSION_ALPHA / 2, look=pairs - 1, looks=pairs, unit=unit)
        found = expected_visible(gate, cells=cells, models=models, rounds=settings.max_rounds, pairs=pairs)
        if found.cell is None or found.model is None:
            return ""
        whole = f", {percent(found.model, sign=False)} in all cells of a model" if cells > models else ""
        return f"{percent(found.cell, sign=False)} or more in one cell{whole}"

    by_blocks = seen("block") if {"block", "auto"} & set(units) else ""
    if set(units) == {"block"}:
        blocks = f"a block of rounds is one value, and there are {pairs} at most"
        if not by_blocks:
            return f"{blocks}: {few}"
        return f"{blocks}: it will see changes of {by_blocks}; looks for {percent(detect, sign=False)}"
    by_rounds = seen("round")
    if not by_rounds:
        return "too few rounds to see any change: allow more (--llmci-max-rounds)"
    text = f"it will see changes of {by_rounds}; looks for {percent(detect, sign=False)}"
    if {"block", "auto"} & set(units):
        where = "of models with +unit=block" if "block" in units else "where the server limits rates"
        text += f"; {where}, of {by_blocks}" if by_blocks else f"; {where}, {_count(pairs, 'block')}: {few}"
    return text


def show_as_they_are(config: pytest.Config, names: Collection[str]) -> None:
    """Keep node ids of ours from being shown as files: in a subdirectory pytest would write ``../inference::...``.

    :param names: what stands in the place of a file in such ids.
    """
    relative: Any = config.cwd_relative_nodeid

    def shown(nodeid: Any) -> Any:  # text, or an object of pytest 9.2 and newer
        return nodeid if str(nodeid).partition("::")[0] in names else relative(nodeid)

    config.cwd_relative_nodeid = shown  # type: ignore[method-assign]  # there is no hook that is asked


def _threads(specs: Sequence[ModelSpec], default: int) -> str:
    """``1 thread``, ``1 to 4 threads, 1 of 2 models pinned``; the waiting of OpenMP where it is not the one that we set."""
    counts = sorted({threads_of(spec, default) for spec in specs})
    numbers = ["auto" if count == 0 else str(count) for count in counts]
    text = f"{' to '.join(dict.fromkeys([numbers[0], numbers[-1]]))} thread{'' if counts == [1] else 's'}"
    pinned = sum("cpus" in spec.options for spec in specs)
    if pinned:
        text += ", pinned" if pinned == len(specs) else f", {pinned} of {len(specs)} models pinned"
    policy = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    return text if policy.upper() == "PASSIVE" else f"{text}, OMP_WAIT_POLICY={one_line(policy)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
