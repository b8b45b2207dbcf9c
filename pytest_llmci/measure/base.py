"""What an instrument is: something that is started before a round, stopped after it, and read when time no longer counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from ..metrics import MetricDef
from ..quick_records import quickly_made
from ..records import Completion, Missing

Reading = int | float | Missing
"""A number in the unit in which the log stores the metric, or why there is none."""
CLOCK_WENT_BACK: Final = Missing("the clock went back during the block")


class NothingRead(dict[str, Reading]):
    """What an instrument gives where none of its metrics can be measured, made once: its reasons are taken over as they are."""

    __slots__ = ("reasons", "until")

    def __init__(self, missing: Mapping[str, Missing], *, until: str | None = None) -> None:
        """Make the reasons.

        :param until: the module before whose import nothing will change, so that the instrument need not be asked again; empty where
            nothing will ever, None where the next round may be another.
        """
        super().__init__(missing)
        self.reasons: Final = {name: why.reason for name, why in missing.items()}
        self.until: Final = until


_NOT_MEASURED: Final = Missing("run delay was not measured")


@quickly_made
@dataclass(frozen=True, kw_only=True, slots=True)
class RoundFacts:
    """What is known of a round when its instruments are read."""

    wall_ns: int
    """From the request to the return of ``generate``."""
    token_ns: tuple[int, ...]
    """Time to the first token, then the gap before each further one; empty where no token was seen to arrive."""
    completion: Completion
    threads: int
    """CPU threads of the process that may compute; 0 where it is not known."""
    run_delay_ns: Reading = _NOT_MEASURED
    """Time that the generating thread was ready to run but had no CPU."""


def nothing_to_note(_instrument: object) -> None:
    """``start = stop = nothing_to_note`` in an instrument that only reads: it is not called at all around a round."""


class Instrument(Protocol):
    """One kind of measurement. Built without arguments, once for each process, and used for every round."""

    metrics: ClassVar[tuple[MetricDef, ...]]
    """What :meth:`read` gives, one definition each."""

    def start(self) -> None:
        """Called before the timed region."""

    def stop(self) -> None:
        """Called after the timed region; note the raw numbers and leave the arithmetic to :meth:`read`."""

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        """Metric name -> number or :class:`Missing`; every metric that is declared."""
