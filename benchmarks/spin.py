"""A model of exactly known cost: each token takes a given CPU time of its thread, by the kernel's own count."""

from __future__ import annotations

import time

from pytest_llmci.backends.base import LoadContext, LoadedModel, Stamp
from pytest_llmci.records import Completion, GenerationSettings, Prompt

PROMPT = Prompt(id="spin", text="hello")


class SpinModel:
    """A backend that computes nothing, ``max_new_tokens`` times."""

    def __init__(self, token_ns: int = 1_000_000) -> None:
        """Nothing to load.

        :param token_ns: CPU time of a token, in nanoseconds.
        """
        self._token_ns = token_ns

    def load(self, context: LoadContext) -> LoadedModel:
        """Ready at once."""
        return LoadedModel()

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> int:
        """Spin; the number of tokens."""
        clock, token_ns = time.thread_time_ns, self._token_ns
        for _ in range(settings.max_new_tokens):
            end = clock() + token_ns
            while clock() < end:
                pass
            stamp()
        return settings.max_new_tokens

    def complete(self, produced: int) -> Completion:
        """As many words as tokens."""
        return Completion(text="spin " * produced, finish_reason="length", output_tokens=produced)

    def close(self) -> None:
        """Nothing to let go of."""
