"""``--llmci-shard``: what is left of the collected tests is one part of the matrix, and the log tells of the others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..engine.shards import assign, plan_digest, predicted_costs, read_costs, shard_of_file
from ..given import parse_shard
from ..leaderboard.cells import size_in_name
from ..records import ModelSpec, ShardRecord
from .collecting import model_of

if TYPE_CHECKING:
    from .armed import ArmedPlugin

ANSWERS_OF_A_TASK = 100
"""What a benchmark task counts for where nobody has limited it: asking a question costs less than an answer."""
_BYTES_A_BILLION = 2e9
"""Of weights with two bytes each."""
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")


def take_shard(plugin: ArmedPlugin, items: list[pytest.Item]) -> ShardRecord:
    """Take out of ``items``, in place, what other shards run; as with ``-k``, pytest counts it.

    A model's tests stay together. Tests without a model are run by one shard, too: those of a file by the same.

    :raises ConfigError: if the earlier times that were asked for cannot be read.
    """
    index, of = parse_shard(plugin.settings.shard, "--llmci-shard")
    specs = {spec.alias: spec for item in items if (spec := model_of(item)) is not None}
    costs, source = _costs(plugin, specs.values())
    shards = assign(costs, of)
    cells = _cells(plugin, specs)
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        spec = model_of(item)
        shard = shards[spec.alias] if spec is not None else shard_of_file(item.nodeid.partition("::")[0], of)
        (kept if shard == index else left_out).append(item)
    if left_out:
        items[:] = kept
        plugin.config.hook.pytest_deselected(items=left_out)
    _note(plugin, kept, f"nothing to do in shard {index} of {of}: the others measure all {len(specs)} models")
    return ShardRecord(
        uid="shard", index=index, of=of, plan=plan_digest(of, ((alias, shards[alias], cells[alias]) for alias in specs)),
        models=list(specs), shards=[shards[alias] for alias in specs], cells=[cells[alias] for alias in specs],
        costs=[round(costs[alias], 3) for alias in specs], costs_from=source,
    )  # fmt: skip


def _note(plugin: ArmedPlugin, kept: list[pytest.Item], idle: str) -> None:
    """What is judged together is so whoever measures it: shares of the session's chance of error do not grow with the shards."""
    collected = plugin.collected
    cells, budgets = len(collected.selected) + len(collected.selected_tasks), collected.uncertain_budgets()
    expected = {nodeid for nodeid, (_, plan) in collected.selected.items() if plan.expected_to_fail}
    collected.select((item.nodeid for item in kept), expected)
    collected.elsewhere = cells - len(collected.selected) - len(collected.selected_tasks)
    collected.elsewhere_budgets = budgets - collected.uncertain_budgets()
    if not any(model_of(item) is not None for item in kept):
        collected.idle_shard = idle


def _cells(plugin: ArmedPlugin, aliases: Iterable[str]) -> dict[str, int]:
    counts = dict.fromkeys(aliases, 0)
    collected = plugin.collected
    for cell, _ in collected.selected.values():
        counts[cell.model.alias] += 1
    for nodeid in collected.selected_tasks:
        counts[collected.tasks[nodeid].model.alias] += 1
    return counts


def _costs(plugin: ArmedPlugin, specs: Iterable[ModelSpec]) -> tuple[dict[str, float], str]:
    settings, planner, collected = plugin.settings, plugin.planner, plugin.collected
    origin = settings.origins.get("shard_costs", "--llmci-shard-costs")
    history, source = read_costs(settings.shard_costs, planner.output_folder, planner.places.of(origin), origin)
    specs = list(specs)
    answers = {spec.alias: 0 for spec in specs}
    tokens: dict[str, int | None] = {}
    for cell, plan in collected.selected.values():
        answers[cell.model.alias] += plan.answers
        tokens[cell.model.alias] = plan.generation.max_new_tokens if plan.generation.fixed_length else None
    for nodeid in collected.selected_tasks:
        answers[collected.tasks[nodeid].model.alias] += settings.limit or ANSWERS_OF_A_TASK
    sizes = {spec.alias: size for spec in specs if (size := _size(spec, planner.places.settings))}
    return predicted_costs(answers, tokens, history, sizes), source if history.keys() & answers.keys() else ""


def _size(spec: ModelSpec, base: Path) -> float | None:
    """Billions of parameters, by the model's name or its files."""
    named = size_in_name(spec.target)
    if named is not None or not spec.target:
        return named
    path = base / spec.target
    try:
        files = [path] if path.is_file() else [each for each in path.iterdir() if each.suffix in _WEIGHTS]
        total = sum(each.stat().st_size for each in files if each.suffix in _WEIGHTS)
    except OSError:
        return None
    return total / _BYTES_A_BILLION or None
