"""Benchmark tasks: questions with known answers, asked as lm-evaluation-harness asks them. One file a benchmark.

To add one: a file beside these with its :class:`~pytest_llmci.tasks.base.Task`, and an entry in :data:`TASKS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import arc, gsm8k, hellaswag, mmlu, truthfulqa, winogrande
from .base import Task

TASKS: Final[Mapping[str, Task]] = {
    task.name: task
    for task in (
        arc.CHALLENGE,
        arc.EASY,
        hellaswag.TASK,
        mmlu.TASK,
        truthfulqa.MC1,
        truthfulqa.MC2,
        gsm8k.TASK,
        winogrande.TASK,
    )
}
"""Name -> task, of all that run without the extra ``eval``."""
