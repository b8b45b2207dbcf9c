"""SmolLM2 with a planted regression: after each token the process computes on for a share of the time that the token took.

A share, not a fixed time, so that the regression is of that size on any machine and under any load.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from pytest_llmci.backends.base import Stamp
from pytest_llmci.backends.causal_lm import Produced
from pytest_llmci.backends.smollm2 import SmolLM2Backend
from pytest_llmci.records import GenerationSettings, ModelSpec, Prompt


class DelayedSmolLM2(SmolLM2Backend):
    """``delayed:8`` is SmolLM2, slower by 8 % a token."""

    def __init__(self, spec: ModelSpec) -> None:
        self._share = float(spec.target) / 100
        super().__init__(replace(spec, target=""))

    @staticmethod
    def preflight(spec: ModelSpec, _sys_path: object = ()) -> None:
        """As for SmolLM2 itself."""
        SmolLM2Backend.preflight(replace(spec, target=""))

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Produced:
        """One inference whose tokens come late."""
        return super().generate(prompt, settings, slowed(stamp, self._share))


def slowed(stamp: Stamp, share: float) -> Callable[[], None]:
    """A stamp that comes later, by that share of the time since the last one; the first token is not delayed."""
    last = 0

    def late() -> None:
        nonlocal last
        now = time.perf_counter_ns()
        end = now + int(share * (now - last)) if last else now
        while time.perf_counter_ns() < end:
            pass
        stamp()
        last = time.perf_counter_ns()

    return late
