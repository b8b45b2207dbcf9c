"""What was decided on one cell, part by part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..quick_records import quickly_made


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """One check of one cell's output."""

    name: str
    passed: bool
    message: str
    """Why, in one line."""
    judged_by: str = ""
    """The model whose opinion the verdict is, as it was named; empty where a rule decided."""

    @property
    def title(self) -> str:
        """Its name, and whose opinion it is."""
        return f"{self.name} (judged by {self.judged_by})" if self.judged_by else self.name

    def __bool__(self) -> bool:
        return self.passed  # else 'assert output.check("json")' would hold whatever came of it


Verdict = Literal["pass", "failed", "inconclusive"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetResult:
    """One budget of one cell."""

    budget: str
    """As written."""
    origin: str
    """Where it was written: ``--llmci-max-latency``, ``marker``, ``pyproject.toml: llmci_budget``."""
    metric: str
    statistic: str
    operator: str
    limit: float
    """SI."""
    verdict: Verdict
    observed: float | None
    """SI; None where it is missing."""
    rounds: int
    reason: str
    """How it was decided, or why it could not be."""
    p_value: float | None = None
    values: list[float] = field(default_factory=list)
    """The sample, SI, in the order of measuring."""


Mode: TypeAlias = Literal["interleaved", "anchored", "saved", "history", "exact"]
"""How two sides met. ``interleaved``: alternately in one session; ``anchored``: in two, each beside the same frozen model;
``saved``: in two; ``history``: against several; ``exact``: numbers that do not vary, however they met."""
Comparability: TypeAlias = Literal["pass", "regressed", "inconclusive", "not comparable", "new", "lost coverage"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonResult:
    """One metric of one cell, or of a whole model, against what it is compared with.

    Changes are relative: 0.05 is 5 % more than the reference, whichever direction is the better one.
    """

    metric: str
    mode: Mode
    verdict: Comparability
    against: str
    """The reference as people know it: ``origin/main``, the name of a baseline, a spec."""
    base: float | None
    """Median of the reference, SI; None where it has none, and for a whole model."""
    candidate: float | None
    change: float | None
    low: float | None = None
    """Limits of the change."""
    high: float | None = None
    visible: float | None = None
    """Smallest change for the worse that this comparison could have seen."""
    detect: float | None = None
    """Smallest change that was to be found."""
    rounds: int = 0
    """Samples on each side."""
    pairs: int = 0
    """Fresh pairs of processes that they came from."""
    p_value: float | None = None
    improved: bool = False
    """True where it is proven to have become better."""
    accepted: str = ""
    """Why a regression was accepted beforehand; empty if it was not."""
    reason: str = ""
    """How it was decided or why it could not be, in plain words."""
    shared: str = ""
    """The server, or the accelerator, that both sides computed on; empty where they had processes of their own on CPUs."""
    by_block: str = ""
    """Why a block of rounds was one value of the test, as on a server that limits rates; empty where each round was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowdownPart:
    """One reason of a change of the mean time of a call."""

    name: str
    """``prefill``, ``decode rate``, ``output length``, ``harness`` or ``noise``."""
    change: float | None
    """Seconds; None where it cannot be told."""
    reason: str = ""
    """Why it cannot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowdownResult:
    """Where a time of a cell that became worse lies: the change of the mean time of a call, in parts that add up to it."""

    against: str
    """The reference as people know it."""
    before: float | None = None
    """Mean time of a call of the reference, seconds; None where nothing is known."""
    now: float | None = None
    samples_before: int = 0
    """How many samples the mean is of."""
    samples_now: int = 0
    parts: list[SlowdownPart] = field(default_factory=list)
    untold: float | None = None
    """Seconds that lie in the parts that cannot be told, together; None where these hold no time of their own."""
    steal: float | None = None
    """Change of the CPU time that the hypervisor took, over all CPUs: beside the parts, as nobody knows which it met."""
    reason: str = ""
    """Why nothing is known; empty where something is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedSample:
    """A sampled output that did not pass."""

    number: int
    """Which sample of its cell, from 1."""
    seed: int
    """With it, ``llmci reproduce`` gets the same text again."""
    check: str
    message: str
    """Why, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleResult:
    """What the sampled outputs of one cell say of the rate at which they pass its checks."""

    verdict: Verdict
    min_pass_rate: float
    """0 to 1."""
    passed: int
    n: int
    """Samples that were judged: those up to the one that decided."""
    planned: int
    low: float
    """Exact lower limit of the rate (Clopper and Pearson), missed in 5 % of cases."""
    high: float
    """Exact upper limit, missed in ``alpha`` of all cases."""
    alpha: float
    """Chance of a false failure with the rate exactly at its limit: this cell's share of the session's 1 %."""
    p_value: float
    """Chance of so few passes, or fewer, at exactly the demanded rate."""
    temperature: float
    distinct: int
    """Different texts among them."""
    reason: str
    """How it was decided, or why it could not be."""
    needed: int | None = None
    """About how many samples would decide at the observed rate; None where it is decided, or no sensible number would."""
    failures: list[FailedSample] = field(default_factory=list)
    """The first of those that did not pass."""
