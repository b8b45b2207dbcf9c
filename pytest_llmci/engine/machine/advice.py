"""What the gate will see with a machine's own noise, and which settings that makes sensible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ...records import Mode
from ...stats.compare import GateSettings
from ...stats.expected import Expected, expected_visible
from ...stats.interleaved import moderated_process
from ...stats.looks import SESSION_ALPHA

if TYPE_CHECKING:
    from ...stats.noise import Noise
    from ...stats.stored import TimeMetric

BLOCK: Final = 5
INTERLEAVED_ROUNDS: Final = (5, 10, 20, 40)
STORED_ROUNDS: Final = 20
HISTORY_SESSIONS: Final = 5
Stored = Literal["saved", "anchored", "history"]
_STORED: Final[dict[Stored, int]] = {"saved": 1, "anchored": 1, "history": HISTORY_SESSIONS}
MOST_ROUNDS: Final = 40
"""More are not advised: what is left then is the processes' part, or takes longer than a build may."""
_BLOCKS: Final = (3, 5, 10)
_DETECT: Final = (0.05, 0.075, 0.10, 0.15, 0.20, 0.30, 0.50)
_METRICS: Final[dict[str, TimeMetric]] = {"cpu_time": "cpu", "net_time": "net"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Visible:
    """The smallest slowdowns that are found in 95 % of cases, as ratio: 0.05 is 5 %."""

    metric: str
    mode: Mode
    rounds: int
    pairs: int
    """Fresh pairs of processes; 0 where stored numbers are compared with."""
    sessions: int
    """That are stored; 0 interleaved."""
    cell: float | None
    """In one cell alone."""
    model: float | None
    """In all cells of the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Settings for a comparison that measures alternately."""

    rounds: int
    max_rounds: int
    block: int
    detect: float
    """The smallest change to look for, as ratio."""
    seconds: float
    """Of a session that needs all rounds, with the cells that were measured here."""
    reason: str

    @property
    def lines(self) -> tuple[str, ...]:
        """For ``pyproject.toml``."""
        return (
            "[tool.llmci]",
            f"rounds = {self.rounds}",
            f"max_rounds = {self.max_rounds}",
            f"block = {self.block}",
            f'detect = ["{100 * self.detect:g}%"]',
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What measuring takes here, in seconds."""

    round_s: float
    """Both sides of every cell once."""
    pair_s: float
    """Two starts of the model, and the warm-ups."""


def time_metric(metric: str) -> TimeMetric:
    """Which kind of time it is.

    >>> time_metric("cpu_time"), time_metric("ttft")
    ('cpu', 'wall')
    """
    return _METRICS.get(metric, "wall")


def visible(noise: Mapping[str, Noise], cells: int, beside: Mapping[str, Noise] | None = None) -> list[Visible]:
    """What each way of comparing will see.

    :param noise: gated metric -> its noise.
    :param beside: the same of times divided by those of a frozen model; those without are not told of.
    """
    found = []
    for metric, parts in noise.items():
        if parts.round.sd is None:
            continue
        for rounds in INTERLEAVED_ROUNDS:
            pairs = -(-rounds // BLOCK)
            seen = _interleaved(parts, metric, len(noise), cells=cells, rounds=rounds, block=BLOCK)
            found.append(_row(metric, "interleaved", seen, rounds=rounds, pairs=pairs))
        for mode, sessions in _STORED.items():
            own = parts if mode != "anchored" else (beside or {}).get(metric)
            if own is None or own.round.sd is None:
                continue
            seen = _stored(own, metric, len(noise), cells=cells, mode=mode)
            found.append(_row(metric, mode, seen, rounds=STORED_ROUNDS, sessions=sessions))
    return found


def _row(metric: str, mode: Mode, seen: Expected, *, rounds: int, pairs: int = 0, sessions: int = 0) -> Visible:
    return Visible(
        metric=metric, mode=mode, rounds=rounds, pairs=pairs, sessions=sessions, cell=seen.cell, model=seen.model
    )


def _interleaved(parts: Noise, metric: str, metrics: int, *, cells: int, rounds: int, block: int) -> Expected:
    """At the last look of a comparison that goes to that many rounds; the processes' part as the gate will take it."""
    pairs = -(-rounds // block)
    process, _ = moderated_process(2 * (parts.process.sd or 0.0) ** 2, pairs)
    settings = GateSettings(alpha=SESSION_ALPHA / metrics, look=pairs - 1, looks=pairs, metric=time_metric(metric))
    return expected_visible(
        settings, cells=cells, rounds=rounds, pairs=pairs, round_sd=parts.ratio.sd or 0.0,
        process_sd=math.sqrt(process / 2),
    )  # fmt: skip


def _stored(parts: Noise, metric: str, metrics: int, *, cells: int, mode: Stored) -> Expected:
    """Against stored rounds: one session's, whose own noise counts, or the medians of several."""
    settings = GateSettings(mode=mode, alpha=SESSION_ALPHA / metrics, metric=time_metric(metric))
    sides = 1.0 if mode == "history" else math.sqrt(2)
    return expected_visible(
        settings, cells=cells, rounds=STORED_ROUNDS, sessions=_STORED[mode], round_sd=sides * (parts.round.sd or 0.0),
        between_sd=parts.session.sd,
    )  # fmt: skip


def advise(noise: Mapping[str, Noise], cells: int, cost: Cost) -> Advice | None:
    """The quickest settings that see 5 % in one cell, or the smallest change that 40 rounds can see.

    :param noise: gated metric -> its noise; none: there is no advice.
    """
    plans = list(_plans(noise, cells, cost))
    if not plans:
        return None
    for detect in _DETECT:
        able = [plan for plan in plans if plan[0] <= detect]
        if able:
            sees, seconds, block, most = min(able, key=lambda plan: plan[1])
            reason = f"the quickest that sees {100 * detect:g} % in one cell: it sees {100 * sees:.3g} %"
            return Advice(rounds=block, max_rounds=most, block=block, detect=detect, seconds=seconds, reason=reason)
    sees, seconds, block, most = min(plans)
    reason = f"too noisy: even {most} rounds see no less than {100 * sees:.3g} %"
    return Advice(rounds=block, max_rounds=most, block=block, detect=_DETECT[-1], seconds=seconds, reason=reason)


def _plans(noise: Mapping[str, Noise], cells: int, cost: Cost) -> Iterator[tuple[float, float, int, int]]:
    """What is seen of the worst metric, seconds, block, rounds."""
    judged = {metric: parts for metric, parts in noise.items() if parts.ratio.sd is not None}
    for block in _BLOCKS:
        for most in range(block, MOST_ROUNDS + 1, block):
            seen = [
                _interleaved(parts, metric, len(noise), cells=cells, rounds=most, block=block).cell
                for metric, parts in judged.items()
            ]
            known = [size for size in seen if size is not None]
            if known:
                yield max(known), most * cost.round_s + most // block * cost.pair_s, block, most
