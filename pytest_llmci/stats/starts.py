"""Two sides of what is measured once in a process, in fresh pairs of processes: each pair is one observation.

What a process keeps for its life and what a single measurement adds are the same noise here, so that nothing is known of it
but what the pairs show: the logarithms of their ratios, tested as one sample by :mod:`~pytest_llmci.stats.location`, with
one degree of freedom less than there are pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

from .compare import Effect, GateSettings
from .location import LEAST_VALUES, locate, p_above_zero
from .looks import PASS_ERROR_LAST

MISSED = 0.05
"""How often a change of the size called visible goes unnoticed."""


def decide_starts(
    base: Sequence[float], candidate: Sequence[float], settings: GateSettings, *, name: str = ""
) -> Effect:
    """Judge one metric of one model.

    :param base: positive and finite, one number a start.
    :param candidate: each of the start that was paired with the one at the same place.
    :param settings: its mode and its looks do not matter: this is the only look.
    :raises ValueError: if the sides differ in length or a value is not positive and finite.
    """
    import numpy as np
    from scipy.special import stdtrit

    if len(base) != len(candidate):
        raise ValueError(f"{len(base)} starts of the base and {len(candidate)} of the candidate: they come in pairs")
    sides = np.asarray([base, candidate], dtype=np.float64)
    if not (np.isfinite(sides) & (sides > 0)).all():
        raise ValueError("times of starts must be positive and finite")
    pairs = len(base)
    if pairs < LEAST_VALUES:
        change = float(np.expm1(np.median(np.log(sides[1] / sides[0])))) if pairs else 0.0
        return Effect(
            name=name, verdict="inconclusive", effect=change, low=None, high=None, visible=None, rounds=pairs, pairs=pairs,
            p_value=1.0, improved=False, undecided=True,
            note=too_few_starts(pairs),
        )  # fmt: skip
    worse = settings.sign * np.log(sides[1] / sides[0])
    place = locate(worse - settings.log_tolerance)
    p_worse, p_better = p_above_zero(place), p_above_zero(locate(-worse - settings.log_tolerance))
    estimate = place.estimate + settings.log_tolerance
    reach, needed, missed = (
        -float(stdtrit(pairs - 1, error)) * place.standard_error for error in (PASS_ERROR_LAST, settings.alpha, MISSED)
    )
    material = settings.log_material
    failed = p_worse < settings.alpha and estimate > material
    passed = not failed and estimate + reach < settings.log_detect
    low, high = sorted(settings.sign * (estimate + side * reach) for side in (-1, 1))
    visible = max(settings.log_tolerance + needed, material) + missed
    return Effect(
        name=name, verdict="regressed" if failed else "pass" if passed else "inconclusive",
        effect=_relative(settings.sign * estimate), low=_relative(low), high=_relative(high),
        visible=float(settings.as_change(np.asarray([visible]))[0]), rounds=pairs, pairs=pairs, p_value=p_worse,
        improved=p_better < settings.alpha and estimate < -material, undecided=False, note="",
    )  # fmt: skip


def too_few_starts(count: int) -> str:
    """
    >>> too_few_starts(1)
    '1 start on a side: fewer than 3 decide nothing'
    """
    return f"{count} start{'' if count == 1 else 's'} on a side: fewer than {LEAST_VALUES} decide nothing"


def _relative(size: float) -> float:
    import numpy as np

    return float(np.expm1(np.clip(size, -50.0, 50.0)))
