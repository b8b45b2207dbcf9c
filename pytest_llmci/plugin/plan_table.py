"""The plan of a session, printed in the place of measuring: ``--llmci-plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine.estimate import estimate_seconds, read_history
from ..measure.anchor import TYPICAL_S
from ..text import how_many
from ..units import format_duration

if TYPE_CHECKING:
    from ..engine.task_cell import TaskCell
    from .armed import ArmedPlugin


class PlanTable:
    """Writes through pytest's own terminal reporter."""

    def __init__(self, plugin: ArmedPlugin, reporter: Any, verbosity: int) -> None:
        self._plugin = plugin
        self._reporter = reporter
        self._verbosity = verbosity

    def print(self) -> None:
        """Rounds, loads and time of each model, and the questions of benchmark tasks."""
        reporter = self._reporter
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
        self._print_tasks(width)
        if self._plugin.settings.anchor:
            reporter.write_line(
                f"--llmci-anchor: about {format_duration(TYPICAL_S)} for the frozen model beside each round, some MiB in each process"
            )
        for nodeid in cells if self._verbosity > 0 else ():
            reporter.write_line(f"  {nodeid}")
        about = f", about {format_duration(total)}" if total else ""
        reporter.write_line(f"{how_many(len(cells), 'cell')}, {how_many(loads, 'load')}{about}. Nothing was loaded.")

    def _print_tasks(self, width: int) -> None:
        """What benchmark tasks will ask; those of the hub are not read for a plan."""
        tasks = self._plugin.collected.tasks
        groups: dict[tuple[str, str], list[TaskCell]] = {}
        for nodeid in self._plugin.collected.selected_tasks:
            cell = tasks[nodeid]
            groups.setdefault((cell.model.alias, cell.test.suite), []).append(cell)
        for (alias, suite), members in groups.items():
            known = not any(cell.test.announcement for cell in members)
            asked = sum(len(cell.test.load().questions) for cell in members) if known else 0
            questions = how_many(asked, "question") if known else "as many questions as the hub has"
            self._reporter.write_line(f"{alias:<{width}}  {suite}: {how_many(len(members), 'test')}, {questions}")
