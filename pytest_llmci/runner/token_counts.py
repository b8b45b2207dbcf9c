"""Counting the tokens of prompts beside a model: both ends of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import BackendError, GenerationError
from ..records import Prompt, from_json, to_json
from . import wire
from .model_worker import ModelWorker

_TARGET = "pytest_llmci.runner.token_counts:counted"


class TokenCount(NamedTuple):
    """One prompt as a model gets it."""

    tokens: int | None
    """Its chat template included; None where the model refuses the prompt."""
    templated: bool = False
    """Whether it went through the chat template."""
    fault: str = ""
    """Why the model refuses it."""


def counted(backend: Any, prompts: list[dict[str, Any]]) -> list[list[object]]:
    """What ``llm.call`` runs in the model's process.

    :raises GenerationError: if the model source does not count.
    """
    count = getattr(backend, "count_tokens", None)
    if count is None:
        raise GenerationError(
            "this model source does not count the tokens of a prompt; ask for lengths in words instead of tokens.",
            kind="unsupported",
        )
    found: list[list[object]] = []
    for prompt in prompts:
        try:
            tokens, templated = count(from_json(Prompt, prompt))
            found.append([int(tokens), bool(templated), ""])
        except BackendError as error:
            found.append([None, False, str(error)])
    return found


def count_tokens(worker: ModelWorker, prompts: Sequence[Prompt]) -> list[TokenCount]:
    """The tokens of each prompt.

    :raises LLMCIError: if the model source does not count, or its process failed.
    """
    packed = wire.pack_arguments([[to_json(prompt) for prompt in prompts]])
    found: Any = worker.call(_TARGET, packed)
    return [TokenCount(*each) for each in found]


def tokens_of(worker: ModelWorker, prompts: Sequence[Prompt]) -> list[int]:
    """:func:`count_tokens` where every prompt must have some.

    :raises GenerationError: with the fault of the first that the model refuses.
    """
    counts = []
    for each in count_tokens(worker, prompts):
        if each.tokens is None:
            raise GenerationError(each.fault, kind="template")
        counts.append(each.tokens)
    return counts
