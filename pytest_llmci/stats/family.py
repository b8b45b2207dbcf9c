"""One error rate for many tests: every cell, every model as a whole, and everything together.

A slower model shows in all of its cells at once, so the mean over a model's cells finds changes that no single cell can.
The three levels share alpha (Bonferroni), and the tests within a level are adjusted by Holm's method, so that the chance of
any false alarm in the session stays under alpha, whatever the dependence between the tests.

Sources: Holm 1979; Bonferroni by way of Dunn 1961.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from .estimates import joined_freedom
from .location import FEW_VALUES

if TYPE_CHECKING:
    from .estimates import Bools, Estimates
    from .location import Floats
    from .samples import Ints

CELLS_SHARE: Final = 0.50
MODELS_SHARE: Final = 0.35
TOTAL_SHARE: Final = 0.15
_MISSED: Final = 0.05
"""How often a change of the size called visible goes unnoticed."""
_TWO_LEVELS_SHARE: Final = 0.50
"""Cells and their one model: "all together" is the same test as the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """Effects that are tested as one family, ``[m]``, as logarithms."""

    effect: Floats
    error: Floats
    """Standard error with everything in it."""
    freedom: Floats
    lasting: Floats
    """The part of the standard error that stays however many more rounds there are."""
    lasting_freedom: float
    enough: Bools
    """Whether there are enough rounds to test it."""
    share: float
    """Of alpha, that the whole level gets."""

    def adjusted(self, beyond: float, sign: float) -> Floats:
        """P-values of "the effect is not beyond", to compare with the alpha of the session.

        :param beyond: size of an effect that is none yet.
        :param sign: 1 for effects above ``beyond``, -1 for those below ``-beyond``.
        """
        import numpy as np
        from scipy.special import stdtr

        found = np.ones(self.effect.shape)
        tested = self.enough
        ratio = (sign * self.effect[tested] - beyond) / self.error[tested]
        found[tested] = np.minimum(holm(np.asarray(stdtr(self.freedom[tested], -ratio))) / self.share, 1.0)
        return found

    def quantile(self, error: float) -> Floats:
        """How far, as logarithm, an estimate lies off by chance in ``error`` of all cases, on one side."""
        import numpy as np
        from scipy.special import stdtrit

        return np.asarray(-stdtrit(self.freedom, error) * self.error)

    def needed(self, alpha: float, beyond: float, material: float) -> Floats:
        """The estimate, as logarithm, above which the first finding of this level fails.

        :param alpha: of the session, at this look.
        :param material: what an estimate must be above to fail.
        """
        import numpy as np

        return np.maximum(beyond + self.quantile(self._first(alpha)), material)

    def visible(self, alpha: float, beyond: float, material: float) -> Floats:
        """The smallest effect, as logarithm, that is found in 95 % of cases with this noise."""
        return self.needed(alpha, beyond, material) + self.quantile(_MISSED)

    def at_best(self) -> Level:
        """The same estimates with nothing but the error that no rounds can shrink."""
        import numpy as np

        return replace(self, error=self.lasting, freedom=np.full(self.error.shape, self.lasting_freedom))

    def _first(self, alpha: float) -> float:
        return alpha * self.share / max(int(self.enough.sum()), 1)


def holm(p_values: Floats) -> Floats:
    """Adjusted p-values, ``[m]``: those under alpha may all be believed with an error of alpha together."""
    import numpy as np

    count = p_values.size
    order = np.argsort(p_values)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * (count - np.arange(count))), 1.0)
    return adjusted


def levels(estimates: Estimates, models: Ints) -> tuple[Level, Level, Level]:
    """Cells, models and everything together; the last two are the same where there is one model.

    :param models: the number of each cell's model, counted from 0, ``[cells]``.
    """
    import numpy as np

    count, tested = int(models.max()) + 1, estimates.enough
    inside = models[tested]
    size = np.bincount(inside, minlength=count)

    def mean(values: Floats) -> Floats:
        return np.asarray(np.bincount(inside, values[tested], minlength=count) / np.maximum(size, 1))

    least = np.full(count, np.iinfo(np.intp).max)
    np.minimum.at(least, inside, estimates.rounds[tested])
    cells_share, models_share = _shares(models.size, count)
    cells = _Parts(
        effect=estimates.effect,
        own=estimates.own,
        own_freedom=estimates.own_freedom,
        shared=estimates.shared,
        enough=tested,
        near_normal=np.zeros(models.size, np.bool_),
    )
    by_model = _Parts(
        effect=mean(estimates.effect),
        own=mean(estimates.own) / np.maximum(size, 1),
        own_freedom=np.maximum(mean(estimates.own_freedom), size * mean(estimates.unaided_freedom)),
        shared=mean(estimates.shared),
        enough=size > 0,
        near_normal=(size > 1) & (least >= FEW_VALUES),
    )
    one = cells.level(cells_share, estimates)
    several = by_model.level(models_share, estimates)
    if count == 1:
        return one, several, several
    total = by_model.together(estimates.across, near_normal=int(least.min()) >= FEW_VALUES)
    return one, several, total.level(TOTAL_SHARE, estimates)


def _shares(cells: int, models: int) -> tuple[float, float]:
    if cells == 1:
        return 1.0, 1.0
    return (_TWO_LEVELS_SHARE, _TWO_LEVELS_SHARE) if models == 1 else (CELLS_SHARE, MODELS_SHARE)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """Effects with both parts of their squared errors, ``[m]``."""

    effect: Floats
    own: Floats
    own_freedom: Floats
    shared: Floats
    enough: Bools
    near_normal: Bools

    def level(self, share: float, estimates: Estimates) -> Level:
        import numpy as np

        # What is not tested has no error: any number that can be calculated with will do.
        own, freedom = np.where(self.enough, self.own, 1.0), np.where(self.enough, self.own_freedom, 1.0)
        shared = np.where(self.enough, self.shared, 1.0)
        return Level(
            effect=self.effect,
            error=np.sqrt(own + shared),
            freedom=joined_freedom(own, freedom, shared, estimates.shared_freedom, near_normal=self.near_normal),
            lasting=np.sqrt(shared) if estimates.lasting else np.zeros(shared.shape),
            lasting_freedom=estimates.shared_freedom,
            enough=self.enough,
            share=share,
        )

    def together(self, across: float, *, near_normal: bool) -> _Parts:
        """The mean of all that have enough rounds, each counting the same."""
        import numpy as np

        tested, size = self.enough, max(int(self.enough.sum()), 1)

        def mean(values: Floats) -> Floats:
            return np.array([values[tested].sum() / size])

        return _Parts(
            effect=mean(self.effect),
            own=mean(self.own) / size,
            own_freedom=size * mean(self.own_freedom),
            shared=mean(self.shared) * (1 / size + across * (1 - 1 / size)),
            enough=np.array([bool(tested.any())]),
            near_normal=np.array([near_normal]),
        )
