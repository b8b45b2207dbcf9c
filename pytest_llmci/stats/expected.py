"""What a planned measurement will be able to see, told before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .by_block import LEAST_BLOCK_SD, LEAST_BLOCKS, NEXT_TO_NOTHING
from .compare import GateSettings
from .estimates import Estimates
from .family import levels
from .interleaved import ACROSS_MODELS, PROCESS_PRIOR_FREEDOM, PROCESS_SD
from .location import LEAST_VALUES, location_variance
from .stored import history_variance, saved_variance, session_sd

if TYPE_CHECKING:
    from .location import Floats

ROUND_SD: Final = 0.032
"""Robust standard deviation of log(candidate / base) from round to round, CPU time, measured on a busy shared machine."""
_LENT_FREEDOM: Final = 10.0
"""What the variances of other cells typically lend to one, if there are that many; see ``moderation``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """The smallest relative changes for the worse that will be found in 95 % of cases; None with too few rounds or blocks."""

    cell: float | None
    """In one cell alone."""
    model: float | None
    """In all cells of one model."""
    total: float | None
    """In all cells of all models."""


def expected_visible(
    settings: GateSettings,
    *,
    cells: int,
    rounds: int,
    pairs: int = 1,
    models: int = 1,
    sessions: int = 1,
    round_sd: float = ROUND_SD,
    process_sd: float = PROCESS_SD,
    between_sd: float | None = None,
) -> Expected:
    """The smallest visible changes of a set-up, from assumed or calibrated noise.

    :param settings: for adaptive rounds those of the last look.
    :param cells: of all models together, as evenly as they go.
    :param rounds: of each cell.
    :param pairs: fresh pairs of processes they are spread over; interleaved.
    :param sessions: stored sessions; history.
    :param round_sd: of log(candidate / base) from round to round.
    :param process_sd: of what one process keeps for its life, as logarithm.
    :param between_sd: of what one session keeps, as logarithm; history. None: the prior of that metric.
    :raises ValueError: if there are fewer cells than models or fewer rounds than pairs, or one of them is under 1.

    >>> from pytest_llmci.stats.compare import GateSettings
    >>> found = expected_visible(GateSettings(), cells=10, rounds=10, pairs=5, models=2)
    >>> round(found.cell, 3), round(found.total, 3)
    (0.079, 0.036)
    """
    import numpy as np

    if not 1 <= models <= cells:
        raise ValueError(f"{models} models and {cells} cells: every model has at least one cell")
    if not 1 <= pairs <= rounds:
        raise ValueError(f"{pairs} pairs and {rounds} rounds: every pair has at least one round")
    if sessions < 1:
        raise ValueError(f"{sessions} sessions: give at least one")
    by_block = settings.unit == "block"
    if rounds < LEAST_VALUES or (by_block and pairs < LEAST_BLOCKS):
        return Expected(cell=None, model=None, total=None)
    lent = min(_LENT_FREEDOM, float(cells)) if cells >= LEAST_VALUES else 0.0
    if by_block:
        own, own_freedom, unaided_freedom = NEXT_TO_NOTHING, pairs - 1.0, pairs - 1.0
        shared, freedom, across = _of_blocks(rounds, pairs, round_sd, process_sd), pairs - 1.0, 1.0
    else:
        own, own_freedom, unaided_freedom = location_variance(round_sd**2, rounds), rounds - 1 + lent, rounds - 1.0
        shared, freedom, across = _shared(settings, pairs, sessions, process_sd, between_sd)
    estimates = Estimates(
        effect=np.zeros(cells),
        own=np.full(cells, own),
        own_freedom=np.full(cells, own_freedom),
        unaided_freedom=np.full(cells, unaided_freedom),
        shared=np.full(cells, shared),
        shared_freedom=freedom,
        lasting=settings.mode != "interleaved",
        across=across,
        rounds=np.full(cells, rounds),
        pairs=np.full(cells, pairs),
        enough=np.ones(cells, np.bool_),
    )

    def size(logs: Floats) -> float:
        return float(settings.as_change(logs).max())

    cell, model, total = (
        size(level.visible(settings.look_alpha, settings.log_tolerance, settings.log_material))
        for level in levels(estimates, np.arange(cells) * models // cells)
    )
    return Expected(cell=cell, model=model, total=total)


def _of_blocks(rounds: int, pairs: int, round_sd: float, process_sd: float) -> float:
    """Variance of the mean of blocks that differ by nothing but their rounds and processes: what a server adds is not known before."""
    one = location_variance(round_sd**2, rounds // pairs) + 2 * process_sd**2
    return max(one, LEAST_BLOCK_SD**2) / pairs


def _shared(
    settings: GateSettings, pairs: int, sessions: int, process_sd: float, between_sd: float | None
) -> tuple[float, float, float]:
    """Variance, freedom and correlation between models of what cells have in common."""
    if settings.mode == "interleaved":
        return 2 * process_sd**2 / pairs, PROCESS_PRIOR_FREEDOM + pairs - 1, ACROSS_MODELS
    session, shift = session_sd(settings.metric, anchored=settings.mode == "anchored"), settings.environment_shift
    if settings.mode == "history" and sessions > 1:
        between = session if between_sd is None else between_sd
        return *history_variance(session, between**2, sessions, shift), 1.0
    return *saved_variance(session, shift), 1.0
