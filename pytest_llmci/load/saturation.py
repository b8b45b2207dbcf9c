"""What of a measured time is the generator's own: how late it sent, and how late it saw what came.

A server must not be called slow for a generator that is. Both delays are measured, never assumed away: the sending against the moment
at which it could have begun, the seeing as the lag of the event loop, sampled by a clock beside the requests. A quantile of the
latency is refused where the same quantile of both delays together is over :data:`LARGEST_SHARE` of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..records import LoadRun, Missing
from ..stats.summary import summarise
from ..units import format_duration

LARGEST_SHARE: Final = 0.05
"""Of a time, that may be the generator's own."""
LAG_QUANTILES: Final = (*(number / 20 for number in range(20)), 0.99, 1.0)
"""Those that a run keeps of its lags."""


def lag_quantiles(lags_ns: Sequence[int]) -> list[int]:
    """What is kept of the lags: their quantiles at :data:`LAG_QUANTILES`; empty where there were none."""
    summary = summarise(lags_ns)
    return [round(float(summary.quantile(share))) for share in LAG_QUANTILES] if lags_ns else []


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnDelay:
    """The generator's own delays in one run."""

    sending_ns: Sequence[int]
    """Of each request: from when it could be sent until it was."""
    lags_ns: Sequence[int]
    """Quantiles of the lag, as a run keeps them."""

    @classmethod
    def of(cls, run: LoadRun) -> OwnDelay:
        """Those of a run."""
        late = [sent - ready for sent, ready in zip(run.sent_ns, run.ready_ns, strict=True)]
        return cls(sending_ns=late, lags_ns=run.lags_ns)

    def sending(self, share: float) -> float:
        """A quantile of the delay of sending, ns."""
        return float(summarise(self.sending_ns).quantile(share)) if self.sending_ns else 0.0

    def seeing(self, share: float) -> float:
        """A quantile of the lag, ns: of those that are kept the next one above."""
        known = [lag for at, lag in zip(LAG_QUANTILES, self.lags_ns, strict=bool(self.lags_ns)) if at >= share - 1e-9]
        return float(known[0]) if known else 0.0

    def whole(self, share: float) -> float:
        """Both together, ns: no less than the quantile of their sum where the two go together."""
        return self.sending(share) + self.seeing(share)


def refusal(own_ns: float, time_ns: float, what: str) -> Missing | None:
    """Why a time cannot be told as the server's; None if it can.

    :param own_ns: what of it is the generator's own.
    """
    if own_ns <= LARGEST_SHARE * time_ns:
        return None
    own, seen = format_duration(own_ns / 1e9), format_duration(time_ns / 1e9)
    return Missing(
        f"the generator itself was too slow: {own} of {what} {seen} are its own, over {100 * LARGEST_SHARE:.0f} %; offer less, give it"
        " a free core and as many open files (ulimit -n) as requests are under way, or spread the load over several machines"
    )
