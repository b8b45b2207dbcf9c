"""How long prompts are for a model: its own tokenizer counts, in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import backends, measure
from ..clock import SystemClock
from ..errors import GenerationError
from ..prompts.fit import fitted
from ..records import Prompt
from ..registry import Registry
from ..runner.guard import Guard
from ..runner.model_worker import Limits, ModelWorker, WorkerSetup
from ..runner.token_counts import TokenCount, count_tokens, tokens_of
from ..runner.worker import WorkerProcess
from ..specs import read_specs
from .cache_dir import user_cache_dir
from .limits import Preflight

AT_ONCE = 1000
"""Prompts of one message to the model's process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """The prompts as a model gets them."""

    model: str
    """Alias."""
    context_length: int | None
    """Tokens that prompt and answer may have together; None where the model has no fixed limit."""
    prompts: tuple[Prompt, ...]
    """With texts for those whose length in tokens was open."""
    counts: tuple[TokenCount, ...]


def count_prompts(
    text: str, prompts: Sequence[Prompt], *, where: str, sys_path: Sequence[str], say: Callable[[str], None]
) -> Counted:
    """Load a model and let it count.

    :param text: its spec.
    :param where: the option that names it, for messages.
    :param say: told of the progress of loading.
    :raises LLMCIError: if it cannot be loaded, or counts no tokens.
    """
    registry = Registry()
    backends.register(registry)
    measure.register(registry)
    (spec, *_) = read_specs([(text, where)], registry.names("backend"), Path())
    Preflight(registry, sys_path).check(spec, ())
    guard = Guard()
    with tempfile.TemporaryDirectory(prefix="llmci-") as folder:
        setup = WorkerSetup(
            registry=registry, limits=Limits(), cache_dir=str(user_cache_dir()), log_folder=Path(folder), sys_path=sys_path, say=say,
        )  # fmt: skip
        worker = WorkerProcess(spec, setup, clock=SystemClock(), guard=guard, number=1)
        try:
            context = worker.load().info.get("context_length")
            closed, counts = _counted(worker, prompts, spec.alias)
        finally:
            worker.close()
            guard.close()
    return Counted(
        model=spec.alias, context_length=context if isinstance(context, int) else None, prompts=closed, counts=counts
    )


def _counted(
    worker: ModelWorker, prompts: Sequence[Prompt], model: str
) -> tuple[tuple[Prompt, ...], tuple[TokenCount, ...]]:
    closed, faults = [], dict[int, str]()
    for number, prompt in enumerate(prompts):
        try:
            closed.append(fitted(prompt, partial(tokens_of, worker), model) if prompt.is_open else prompt)
        except GenerationError as error:
            if error.kind not in ("length", "template"):
                raise
            faults[number] = str(error)
            closed.append(prompt)
    asked = [prompt for number, prompt in enumerate(closed) if number not in faults]
    found = iter([
        count for start in range(0, len(asked), AT_ONCE) for count in count_tokens(worker, asked[start : start + AT_ONCE])
    ])  # fmt: skip
    counts = [
        TokenCount(None, fault=faults[number]) if number in faults else next(found) for number in range(len(closed))
    ]
    return tuple(closed), tuple(counts)
