"""Comparing answers: did the candidate answer fewer questions right than the base?

Both sides answer the same questions, so only questions that one side got right and the other wrong tell anything. Where
answers repeat to the letter the questions are all there is (a census, no sample) and the losses are simply counted;
otherwise McNemar's test decides whether they can be luck.

Sources: McNemar 1947; Fagerland, Lydersen and Laake 2013 (mid-p); Miller 2024, Adding Error Bars to Evals (paired
questions, clusters).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .looks import PASS_ERROR_LAST, SESSION_ALPHA

if TYPE_CHECKING:
    from .compare import GateVerdict

DETECT: Final = 0.05
"""The smallest drop of the share of right answers that a pass excludes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityChange:
    """How the share of right answers changed."""

    verdict: GateVerdict
    questions: int
    lost: int
    """Right before, wrong now."""
    won: int
    """Wrong before, right now."""
    drop: float
    """Of the share of right answers: 0.02 is two of a hundred questions net."""
    upper: float
    """Upper limit of the drop, 95 %; of a census the drop itself."""
    p_value: float | None
    """Chance of so many losses where nothing changed; None of a census."""


def compare_answers(
    base: Sequence[bool],
    candidate: Sequence[bool],
    *,
    deterministic: bool,
    max_drop: float = 0.0,
    detect: float = DETECT,
    alpha: float = SESSION_ALPHA,
) -> QualityChange:
    """Compare right and wrong answers to the same questions in the same order.

    :param deterministic: whether the base, asked twice, answered both times the same to the letter: then the losses are
        counted. Otherwise they are tested.
    :param max_drop: a drop of the share of right answers up to this is no regression.
    :param detect: a pass excludes a drop of this size.
    :param alpha: chance of failing where the true drop is ``max_drop``.
    :raises ValueError: if there are no questions or not the same on both sides.

    >>> compare_answers([True] * 50, [True] * 49 + [False], deterministic=True).verdict
    'regressed'
    >>> compare_answers([True] * 50, [True] * 49 + [False], deterministic=False).verdict
    'inconclusive'
    """
    if len(base) != len(candidate) or not len(base):
        raise ValueError(
            f"{len(base)} answers of the base, {len(candidate)} of the candidate: give both the same questions"
        )
    if not 0 <= max_drop < detect < 1:
        raise ValueError(f"max_drop={max_drop:g}, detect={detect:g}: give shares, max_drop under detect")
    n = len(base)
    lost = sum(before and not now for before, now in zip(base, candidate, strict=True))
    won = sum(now and not before for before, now in zip(base, candidate, strict=True))
    drop = (lost - won) / n
    if deterministic:
        verdict: GateVerdict = "regressed" if lost - won > max_drop * n + 1e-9 else "pass"
        return QualityChange(verdict=verdict, questions=n, lost=lost, won=won, drop=drop, upper=drop, p_value=None)
    p = mcnemar_mid_p(lost, won) if max_drop == 0 else _p_beyond(drop, max_drop, _spread(lost, won, n, least=1.0))
    upper = _upper(lost, won, n)
    failed = p < alpha and drop > max_drop
    return QualityChange(
        verdict="regressed" if failed else "pass" if upper < detect else "inconclusive",
        questions=n,
        lost=lost,
        won=won,
        drop=drop,
        upper=upper,
        p_value=p,
    )


def mcnemar_mid_p(lost: int, won: int) -> float:
    """One-sided mid-p value of "no more questions are lost than won".

    Each question on which the sides differ is a fair coin where nothing changed.

    >>> mcnemar_mid_p(0, 0), round(mcnemar_mid_p(6, 0), 4)
    (1.0, 0.0078)
    """
    from scipy.special import bdtrc

    differing = lost + won
    if differing == 0:
        return 1.0
    more = float(bdtrc(lost, differing, 0.5)) if won else 0.0
    as_many = float(bdtrc(lost - 1, differing, 0.5)) if lost else 1.0
    return (more + as_many) / 2


def _spread(lost: int, won: int, n: int, *, least: float) -> float:
    """Standard error of the drop of the share; never that of fewer than ``least`` differing questions, a quarter each."""
    squared: float = max(lost + won - (lost - won) ** 2 / n, 0.25 * least)
    return math.sqrt(squared) / n


def _p_beyond(drop: float, max_drop: float, spread: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(-(drop - max_drop) / spread))


def _upper(lost: int, won: int, n: int) -> float:
    """Upper limit of the drop: the normal one, but never under the exact one of the losses less what was won.

    A few questions without any loss do not prove that there is none.
    """
    from scipy.special import betaincinv, ndtri

    losses = 1.0 if lost == n else float(betaincinv(lost + 1, n - lost, 1 - PASS_ERROR_LAST))
    normal = (lost - won) / n - float(ndtri(PASS_ERROR_LAST)) * _spread(lost, won, n, least=lost + won + 1.0)
    return min(max(normal, losses - won / n), 1.0)
