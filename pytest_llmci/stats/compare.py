"""The regression gate: did the candidate get slower than the base, cell by cell, model by model and as a whole?

>>> from pytest_llmci.stats.compare import GateSettings, decide
>>> base = [[1.00, 1.02, 0.99, 1.01, 1.03, 0.98, 1.00, 1.02, 1.01, 0.99]]
>>> slower = [[1.22, 1.25, 1.20, 1.21, 1.26, 1.19, 1.23, 1.25, 1.22, 1.20]]
>>> verdicts = decide(base, slower, GateSettings(), pairs=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
>>> verdicts.verdict, round(verdicts.cells[0].effect, 3)
('regressed', 0.218)

How it is decided, why so, and what it cannot promise is told in docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from .by_block import LEAST_BLOCKS, block_estimates
from .family import levels
from .interleaved import interleaved_estimates
from .location import LEAST_VALUES
from .looks import PASS_ERROR_EARLY, PASS_ERROR_LAST, SESSION_ALPHA, look_alpha
from .samples import cell_name, grouped
from .short_values import with_value_sd
from .stored import TimeMetric, history_estimates, saved_estimates, session_sd

if TYPE_CHECKING:
    from .estimates import Bools, Estimates
    from .family import Level
    from .location import Floats
    from .samples import Ints, PairNumbers, Rows

GateVerdict: TypeAlias = Literal["pass", "regressed", "inconclusive"]
Mode: TypeAlias = Literal["interleaved", "anchored", "saved", "history"]
Unit: TypeAlias = Literal["round", "block"]

MATERIAL_SHARE: Final = 0.5
"""An estimate below this share of ``detect`` never fails: significant is not yet worth a red build."""
PROCESS_TIME_SD_S: Final = 1e-6
"""Standard deviation, between processes of one program, of the time that measuring itself takes and every call is told with: where
the caches hold its few microseconds of code is settled once a process. ``benchmarks.short_calls`` measures it."""
_MOST_LOGARITHM: Final = 50.0
"""Larger limits say nothing, and their exponential would not be a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateSettings:
    """What is to be found, at which error rates, and where the numbers come from."""

    mode: Mode = "interleaved"
    """``interleaved``: both sides ran in turn. ``saved``: the base is of another session; ``anchored``: so, and both were
    divided, round by round, by the time of a frozen model; ``history``: the base is a sequence of sessions."""
    detect: float = 0.05
    """The smallest relative change for the worse that must be found; a pass is the proof that there is none."""
    tolerance: float = 0.0
    """Relative changes for the worse up to this size are never regressions."""
    alpha: float = SESSION_ALPHA
    """False alarms over all cells given. Halve it for two gated metrics; share it over calls that are one session."""
    look: int = 0
    """Which planned look at the growing sample this is, from 0."""
    looks: int = 1
    """How many looks are planned; see :func:`~pytest_llmci.stats.looks.look_alpha`."""
    last: bool = True
    """Whether no further rounds can come: a pass is then certified at 95 instead of 99 %."""
    higher_is_better: bool = False
    """True for rates: a drop is a change for the worse."""
    metric: TimeMetric = "cpu"
    """Which time it is: stored wall times differ more from session to session than CPU times do."""
    session: float | None = None
    """Stored modes: standard deviation between sessions, as logarithm, beyond what the rounds themselves show; None: what is
    known of :attr:`metric`. Nought where each round is a session of its own."""
    environment_shift: float = 0.0
    """Stored modes: what a change of load alone could explain, of :func:`~pytest_llmci.stats.stored.environment_shift`."""

    unit: Unit = "round"
    """Interleaved: what counts as one value. ``block``: the rounds of one pair of processes together, where neighbouring rounds share
    their fate, as those of a server that limits rates do (:mod:`~pytest_llmci.stats.by_block`)."""
    value_sd: float = 0.0
    """What every value of one process is off by, however small the value, in its unit: :data:`PROCESS_TIME_SD_S` for times."""

    def __post_init__(self) -> None:
        if self.unit == "block" and self.mode != "interleaved":
            raise ValueError(f"unit='block' with mode='{self.mode}': blocks are those of interleaved rounds")
        if not 0 < self.detect < 1:
            raise ValueError(f"detect={self.detect:g}: give a share between 0 and 1, such as 0.05 for 5 %")
        if not 0 <= self.tolerance < self.detect:
            raise ValueError(f"tolerance={self.tolerance:g}: give a share from 0 to under detect ({self.detect:g})")
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha={self.alpha:g}: give a share between 0 and 0.5, such as 0.01 for 1 %")
        if not 0 <= self.look < self.looks:
            raise ValueError(f"look={self.look} of looks={self.looks}: looks count from 0")
        if self.session is not None and not 0 <= self.session < math.inf:
            raise ValueError(f"session={self.session:g}: give a finite logarithm of at least 0, or None")
        if not 0 <= self.environment_shift < math.inf:
            raise ValueError(f"environment_shift={self.environment_shift:g}: give a finite logarithm of at least 0")
        if not 0 <= self.value_sd < math.inf:
            raise ValueError(
                f"value_sd={self.value_sd:g}: give a finite number of at least 0, in the unit of the values"
            )

    @property
    def look_alpha(self) -> float:
        """What of alpha this look may spend."""
        return self.alpha * look_alpha(self.look, self.looks)

    @property
    def sign(self) -> float:
        """1 where more is worse, -1 where less is."""
        return -1.0 if self.higher_is_better else 1.0

    @property
    def log_detect(self) -> float:
        """:attr:`detect` as the size of a logarithm."""
        return abs(math.log1p(self.sign * self.detect))

    @property
    def log_tolerance(self) -> float:
        """:attr:`tolerance` as the size of a logarithm."""
        return abs(math.log1p(self.sign * self.tolerance))

    @property
    def log_material(self) -> float:
        """What an estimate must be above to fail."""
        return MATERIAL_SHARE * self.log_detect

    def as_change(self, size: Floats) -> Floats:
        """The relative change, as a positive number, of a change for the worse of that size as a logarithm."""
        return abs(_relative(self.sign * size))


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """How one cell, one model (the mean of its cells) or everything together changed."""

    name: str
    verdict: GateVerdict
    """``regressed`` on proof; ``pass`` on proof that a change of ``detect`` would show; else ``inconclusive``."""
    effect: float
    """Relative change of the value: 0.05 is 5 % more."""
    low: float | None
    """Relative, the lower end of the interval: 90 % between both ends, 98 % at looks that are not the last. The end on the
    bad side is the limit that certifies a pass. None with fewer than three rounds."""
    high: float | None
    visible: float | None
    """The smallest relative change for the worse, as a positive number, that would have been found in 95 % of cases with
    this noise. None with fewer than three rounds."""
    rounds: int
    """Of the candidate, against one stored session of the side with fewer; for a model the fewest of its cells."""
    pairs: int
    """Fresh pairs of processes they are spread over; 0 against stored numbers."""
    p_value: float
    """Chance of a change that looks so bad where there is none, adjusted for all other tests of the session: below alpha
    (times the share of the look) it is proof."""
    improved: bool
    """Whether it is proven, by the same rules, that it changed for the better."""
    undecided: bool
    """Whether more rounds may settle it. Against stored numbers they often cannot, as the session is most of the error."""
    note: str = ""
    """What keeps it from being judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdicts:
    """What the gate says of one session and metric."""

    verdict: GateVerdict
    """``regressed`` if any cell, any model or the total is; ``pass`` if every cell is; else ``inconclusive``."""
    cells: tuple[Effect, ...]
    """In the order given."""
    models: tuple[Effect, ...]
    """In the order of their first cell."""
    total: Effect
    """The mean over models."""
    settings: GateSettings


def decide(
    base: Rows | Sequence[Rows],
    candidate: Rows,
    settings: GateSettings,
    *,
    models: Sequence[str] | None = None,
    pairs: PairNumbers | None = None,
    names: Sequence[str] | None = None,
) -> Verdicts:
    """Judge all cells of one session and one metric.

    :param base: positive finite values, ``[cells, rounds]`` or one sequence of rounds a cell; for ``history`` a sequence of
        sessions of that form. Interleaved, round i of a cell ran in turn with round i of the candidate.
    :param candidate: the same cells in the same order.
    :param models: of each cell; None stands for one model.
    :param pairs: interleaved: the pair of processes in which each round ran, one sequence for all cells or one a cell.
        None stands for a single pair.
    :param names: of each cell, for the results and messages.
    :raises ValueError: if sides do not fit together, or a value is not positive and finite.
    """
    count = len(candidate)
    owners = ["all"] * count if models is None else list(models)
    for given, what in ((owners, "models"), (names, "names")):
        if given is not None and len(given) != count:
            raise ValueError(f"{what} has {len(given)} entries for {count} cells: give one a cell")
    estimates = _estimates(base, candidate, settings, pairs, names)
    numbers = {model: number for number, model in enumerate(dict.fromkeys(owners))}
    import numpy as np

    inside = np.array([numbers[model] for model in owners])
    cells, by_model, total = levels(estimates, inside)
    judged = (
        _judged(cells, settings, estimates.rounds, estimates.pairs, [cell_name(i, names) for i in range(count)]),
        _judged(by_model, settings, _least(estimates.rounds, inside), _least(estimates.pairs, inside), list(numbers)),
        _judged(total, settings, estimates.rounds.min(keepdims=True), estimates.pairs.min(keepdims=True), ["all"]),
    )
    return Verdicts(
        verdict=_session_verdict(*judged), cells=judged[0], models=judged[1], total=judged[2][0], settings=settings
    )


def _estimates(
    base: Rows | Sequence[Rows],
    candidate: Rows,
    settings: GateSettings,
    pairs: PairNumbers | None,
    names: Sequence[str] | None,
) -> Estimates:
    count = len(candidate)
    if settings.mode == "interleaved":
        groups = grouped(cast("Rows", base), candidate, pairs, names, interleaved=True)
        found = (block_estimates if settings.unit == "block" else interleaved_estimates)(groups, count)
        return with_value_sd(found, groups, settings.value_sd)
    stored = cast("Sequence[Rows]", base if settings.mode == "history" else [base])
    if not len(stored):
        raise ValueError("history has no stored session: give at least one")
    sessions = [grouped(one, candidate, None, names, interleaved=False) for one in stored]
    session, shift = settings.session, settings.environment_shift
    if session is None:
        session = session_sd(settings.metric, anchored=settings.mode == "anchored")
    if len(sessions) == 1:
        found = saved_estimates(sessions[0], count, session=session, shift=shift)
    else:
        found = history_estimates(sessions, count, session=session, shift=shift)
    return with_value_sd(found, sessions[0], settings.value_sd)


def _least(values: Ints, models: Ints) -> Ints:
    import numpy as np

    found = np.full(int(models.max()) + 1, np.iinfo(values.dtype).max)
    np.minimum.at(found, models, values)
    return found


def _session_verdict(*judged: Sequence[Effect]) -> GateVerdict:
    if any(effect.verdict == "regressed" for level in judged for effect in level):
        return "regressed"
    return "pass" if all(effect.verdict == "pass" for effect in judged[0]) else "inconclusive"


def _judged(
    level: Level, settings: GateSettings, rounds: Ints, pairs: Ints, names: Sequence[str]
) -> tuple[Effect, ...]:
    """Verdicts of one level. Inside, a positive effect is one for the worse."""
    import numpy as np

    sign, alpha = settings.sign, settings.look_alpha
    detect, tolerance, material = settings.log_detect, settings.log_tolerance, settings.log_material
    worse = sign * level.effect
    p_worse, p_better = (level.adjusted(tolerance, direction) for direction in (sign, -sign))
    reach = level.quantile(PASS_ERROR_LAST if settings.last else PASS_ERROR_EARLY)
    failed = (p_worse < alpha) & (worse > material)
    passed = level.enough & (worse + reach < detect) & ~failed
    improved = (p_better < alpha) & (worse < -material)
    columns = (
        np.where(failed, "regressed", np.where(passed, "pass", "inconclusive")),
        _relative(level.effect),
        _relative(level.effect - reach),
        _relative(level.effect + reach),
        settings.as_change(level.visible(alpha, tolerance, material)),
        rounds,
        pairs,
        p_worse,
        improved,
        _may_settle(level, settings) & ~failed & ~passed,
        level.enough,
    )
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return tuple(
        Effect(
            name=name,
            verdict=verdict,
            effect=effect,
            low=low if enough else None,
            high=high if enough else None,
            visible=size if enough else None,
            rounds=n,
            pairs=count,
            p_value=p,
            improved=better,
            undecided=more,
            note="" if enough else _too_few(count if settings.unit == "block" else n, settings.unit),
        )
        for name, verdict, effect, low, high, size, n, count, p, better, more, enough in rows
    )


def _may_settle(level: Level, settings: GateSettings) -> Bools:
    """Whether any number of further rounds could prove one thing or the other, if the estimates stay as they are."""
    import numpy as np

    if settings.last:
        return np.zeros(level.effect.shape, np.bool_)
    best, worse = level.at_best(), settings.sign * level.effect
    passes = worse + best.quantile(PASS_ERROR_EARLY) < settings.log_detect
    fails = worse > best.needed(settings.look_alpha, settings.log_tolerance, settings.log_material)
    return passes | fails | ~level.enough


def _relative(size: Floats) -> Floats:
    """A logarithm as relative change; limits of wild samples stay finite."""
    import numpy as np

    return np.asarray(np.expm1(np.clip(size, -_MOST_LOGARITHM, _MOST_LOGARITHM)))


def _too_few(values: int, unit: Unit) -> str:
    least = LEAST_BLOCKS if unit == "block" else LEAST_VALUES
    return f"{values} {unit}{'' if values == 1 else 's'}: fewer than {least} decide nothing"
