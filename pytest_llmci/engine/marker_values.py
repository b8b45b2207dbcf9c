"""What one test asks for, as its marker or a test file says it."""

from __future__ import annotations

from dataclasses import dataclass

OF_GENERATION = ("max_new_tokens", "temperature", "seed")
"""Of :class:`MarkerValues`: how an answer is made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarkerValues:
    """What one test asks for beyond the session's settings."""

    models: tuple[str, ...] | None = None
    prompts: tuple[str, ...] | None = None
    rounds: int | None = None
    max_rounds: int | None = None
    warmup: int | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    budgets: tuple[str, ...] = ()
    """All markers' budgets together, since each is a promise of its own."""
    checks: tuple[str, ...] | None = None
    """Besides the default check; None: those of the prompt row; an empty tuple: no check at all, not even the default one."""
    samples: int | None = None
    """Most sampled outputs that the checks are judged on; None: what the session says."""
    min_pass_rate: float | None = None
    """Share of the samples that must pass, over 0 and up to 1."""
    temperature: float | None = None
    """Of rounds and samples; 0 is greedy."""
    timed: bool = True
    """False: one round, no warm-up, no budget on time."""
    load: str | None = None
    """The scenario that the test's prompt is asked under."""
