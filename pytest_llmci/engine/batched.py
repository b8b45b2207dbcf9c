"""Untimed cells answered several at once (``--llmci-batch``): one job for the next cells of a model, then a block for each.

What goes wrong in a job is nobody's failure: its cells are asked alone, and the one at fault fails by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..metrics import MetricDef
from ..records import Cell, Completion, RoundRecord
from .pool import LiveModel
from .schedule import CellPlan

COUNTED: Final = ("prompt_tokens", "output_tokens")
"""What an answer in a batch has numbers of."""
UNMEASURED: Final = "answered in a batch (--llmci-batch), so that only its tokens are counted"


def may_be_batched(cell: Cell, plan: CellPlan) -> bool:
    """Whether nothing of a cell is lost in a batch: untimed, one greedy answer, and no budget that wants more than counts."""
    alone = (
        plan.timed or plan.generation.temperature or plan.generation.fixed_length or plan.samples or plan.memory_rounds
    )
    counted = all(budget.metric.name in COUNTED for budget in plan.budgets)
    return not alone and plan.rounds == 1 and counted and not cell.prompt.is_open


def counted_round(completion: Completion, metrics: Mapping[str, MetricDef]) -> RoundRecord:
    """An answer as the one round of its cell."""
    counts = {"prompt_tokens": completion.prompt_tokens, "output_tokens": completion.output_tokens}
    values = {name: float(count) for name, count in counts.items() if count is not None and name in metrics}
    missing = [name for name, metric in metrics.items() if metric.scope == "round" and name not in values]
    return RoundRecord(values=values, reasons=dict.fromkeys(missing, UNMEASURED), token_ns=(), completion=completion)


class BatchedAnswers:
    """The answers of jobs until their tests ask for them."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Completion, LiveModel]] = {}
        self._asked: set[str] = set()

    def was_asked(self, test: str) -> bool:
        """Whether a job has asked the test's cell: it is asked once in a batch, then alone."""
        return test in self._asked

    def next_job(self, test: str, group: Mapping[str, tuple[Cell, CellPlan]], size: int) -> list[str]:
        """The tests whose cells the next job asks: this one, and those after it that are decoded alike."""
        plan, tests = group[test][1], list(group)
        after = [each for each in tests[tests.index(test) :] if each not in self._asked]
        alike = [
            each for each in after if group[each][1].generation == plan.generation and may_be_batched(*group[each])
        ]
        job = alike[:size]
        self._asked.update(job)
        return job

    def keep(self, test: str, completion: Completion, live: LiveModel) -> None:
        """Keep an answer."""
        self._found[test] = completion, live

    def take(self, test: str) -> tuple[Completion, LiveModel] | None:
        """The answer of a test's cell, once."""
        return self._found.pop(test, None)
