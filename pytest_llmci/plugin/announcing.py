"""What is told before anything is measured: what will be, how long that may take, and what a comparison will be able to see."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from ..clock import SystemClock
from ..engine.estimate import estimate_seconds, read_history
from ..engine.planner import INFERENCE
from ..measure.starts import START_TIMES
from ..records import ModelSpec
from ..runner.placement import threads_of
from ..settings import SUITE_MAX_NEW_TOKENS, Settings
from ..stats.looks import SESSION_ALPHA
from ..text import how_many, one_line
from ..units import format_duration

if TYPE_CHECKING:
    from .armed import ArmedPlugin

SHORT_S = 5.0
"""Estimates below that are not worth a word."""


class Announcer:
    """Puts a session's plan in words."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._plugin = plugin

    def before_collection(self) -> list[str]:
        """What will be measured, compared and joined, a text each."""
        return [
            self._describe(),
            *self._describe_tasks(),
            *self._describe_comparison(),
            *self._describe_tables(),
            *self._plugin.replaced,
            *self._plugin.planner.notes,
        ]

    def after_collection(self) -> list[str]:
        """What is compared, what that costs, and what it will be able to see."""
        comparing, s = self._plugin.comparing, self._plugin.settings
        texts = [*self._describe_shard(), *comparing.notes()]
        if comparing.against is not None:
            first = any(name in START_TIMES for name in s.detect)  # it does not count for times of starts
            pairs = -(-s.max_rounds // s.block) + first
            models = len(comparing.against.specs)
            cost = (
                f"up to {how_many(pairs, 'fresh pair')} of processes a model, {2 * pairs} loads{self._predicted_pair()}"
            )
            texts += [
                f"interleaved: {how_many(comparing.against.cells, 'cell')}, {cost}, up to {s.max_rounds} rounds a side",
                visible_line(s, max(comparing.against.cells, models), models, self._units(comparing.against.specs)),
            ]
        return texts

    def _describe_tasks(self) -> list[str]:
        """What each benchmark asks; of the hub's, what will be fetched."""
        texts: list[str] = []
        for suite in dict.fromkeys(test.suite for test in self._plugin.planner.tasks):
            tests = [test for test in self._plugin.planner.tasks if test.suite == suite]
            if tests[0].announcement:
                texts.append(tests[0].announcement)
                continue
            sets = [test.load() for test in tests]
            asked = how_many(sum(len(each.questions) for each in sets), "question")
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
        what = f"{len(own)} of {how_many(len(shard.models), 'model')}, {how_many(cells, 'cell')}{load if total else ''}"
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

    def _describe(self) -> str:
        s = self._plugin.settings
        if self._plugin.replayed is not None:
            run = self._plugin.replayed.header
            return f"replaying run {run.run_id}, measured {run.started[:16].replace('T', ' ')} UTC; no model is loaded"
        parts = [how_many(len(self._plugin.planner.specs), "model")]
        if s.suites and INFERENCE not in s.suites:
            return f"{parts[0]}, {_threads(self._plugin.planner.specs, s.threads)}"
        prompts = len(self._plugin.planner.suite_prompts or self._plugin.planner.prompts)
        if prompts:
            parts.append(how_many(prompts, "prompt"))
        parts.append(how_many(s.rounds, "round"))
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
        text += f"; {where}, of {by_blocks}" if by_blocks else f"; {where}, {how_many(pairs, 'block')}: {few}"
    return text


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
