"""From what came of the requests of a run to its numbers.

Every time counts from the intended sending: a server that stalls makes all requests wait that were due meanwhile, whether they could be
sent or not, and leaving that wait out (coordinated omission) would hide the stall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from ..backends.openai.answer import were_held_back
from ..measure.base import Reading
from ..measure.under_load import LOAD_METRIC_NAMES, PERCENTILES
from ..records import LoadRun, Missing, Objective
from ..stats.summary import summarise
from .saturation import OwnDelay, refusal

NO_TOKEN: Final = "empty"
"""Kind of failure: it was answered without any token."""
_NO_TOKENS_SEEN: Final = Missing("this model source does not tell when tokens arrive")
_UNCOUNTED: Final = Missing("this model source does not count tokens")
_NO_OBJECTIVE: Final = Missing(
    "no objective was set: --llmci-objective='ttft<=500ms itl<=50ms', or limits in the load itself"
)
_NO_SWEEP: Final = Missing("it takes a sweep: rate=LOW..HIGH")
_PACED_BY_ANSWERS: Final = Missing("the answers set the pace")


@dataclass(slots=True)
class Outcome:
    """One request; times in nanoseconds from the beginning of the run."""

    prompt: int
    intended_ns: int
    ready_ns: int = 0
    sent_ns: int = 0
    first_ns: int | None = None
    ended_ns: int = 0
    tokens: int | None = None
    chunks: int = 0
    failure: str = ""
    message: str = ""

    @property
    def gap_ns(self) -> float | None:
        """Mean gap between its tokens; None where fewer than two arrivals were seen."""
        if self.first_ns is None or self.chunks < 2:
            return None
        return (self.ended_ns - self.first_ns) / (self.chunks - 1)


def keeps(outcome: Outcome, objective: Objective) -> bool | None:
    """Whether a request kept the objective; None where a time that it limits was not seen.

    An answer of one token has no gap, and so keeps a limit on it.
    """
    if outcome.failure:
        return False
    if objective.latency_s is not None and outcome.ended_ns - outcome.intended_ns > objective.latency_s * 1e9:
        return False
    if outcome.first_ns is None and (objective.ttft_s is not None or objective.itl_s is not None):
        return None
    if objective.ttft_s is not None and (outcome.first_ns or 0) - outcome.intended_ns > objective.ttft_s * 1e9:
        return False
    return objective.itl_s is None or (outcome.gap_ns or 0.0) <= objective.itl_s * 1e9


def accounted(run: LoadRun, objective: Objective) -> LoadRun:
    """The run with its numbers.

    :param run: its requests as they were; its values are not read.
    """
    found: dict[str, Reading] = dict.fromkeys(LOAD_METRIC_NAMES, _NO_SWEEP)
    outcomes = outcomes_of(run)
    if run.served == "at once" and _are_held_back(outcomes):
        outcomes = [replace(each, first_ns=None) for each in outcomes]
    own = OwnDelay.of(run)
    found |= _rates(outcomes, objective)
    found |= _percentiles(outcomes, own)
    refused = _whole_run_refused(outcomes, own)
    if refused is not None:
        for name in ("request_throughput", "output_throughput", "goodput", "kept_share"):
            found[name] = refused
    found["offered_rate"] = _PACED_BY_ANSWERS if run.rate is None else run.rate
    found["generator_delay"] = round(own.whole(0.95))
    found["generator_cpu"] = 100 * run.cpu_ns / run.wall_ns if run.wall_ns > 0 else Missing("the run took no time")
    values = {name: value for name, value in found.items() if not isinstance(value, Missing)}
    reasons = {name: value.reason for name, value in found.items() if isinstance(value, Missing)}
    return replace(run, values=values, reasons=reasons)


def _are_held_back(outcomes: Sequence[Outcome]) -> bool:
    """Whether most answers of a server were held back until their last token was there; a few may be for want of a CPU."""
    seen = [each for each in outcomes if not each.failure and each.first_ns is not None]
    held = [each for each in seen if were_held_back(each.ended_ns - (each.first_ns or 0), each.chunks)]
    return 2 * len(held) > len(seen)


def outcomes_of(run: LoadRun) -> list[Outcome]:
    """The requests of a run as they were."""
    columns = zip(
        run.prompts, run.intended_ns, run.ready_ns, run.sent_ns, run.first_ns, run.ended_ns, run.tokens, run.chunks, run.failures,
        strict=True,
    )  # fmt: skip
    return [Outcome(*row) for row in columns]


def run_of(
    outcomes: Sequence[Outcome], *, kind: str, served: str, rate: float | None, concurrency: int | None, lags_ns: Sequence[int],
    cpu_ns: int, wall_ns: int, step: int = 0,
) -> LoadRun:  # fmt: skip
    """The requests of a run in columns, without numbers yet."""
    messages: dict[str, str] = {}
    for each in outcomes:
        if each.failure:
            messages.setdefault(each.failure, each.message)
    return LoadRun(
        step=step, kind=kind, rate=rate, concurrency=concurrency, served=served,  # type: ignore[arg-type]  # the drivers name them
        prompts=[each.prompt for each in outcomes], intended_ns=[each.intended_ns for each in outcomes],
        ready_ns=[each.ready_ns for each in outcomes], sent_ns=[each.sent_ns for each in outcomes],
        first_ns=[each.first_ns for each in outcomes], ended_ns=[each.ended_ns for each in outcomes],
        tokens=[each.tokens for each in outcomes], chunks=[each.chunks for each in outcomes],
        failures=[each.failure for each in outcomes], messages=messages, lags_ns=list(lags_ns), cpu_ns=cpu_ns, wall_ns=wall_ns,
        values={}, reasons={},
    )  # fmt: skip


def duration_ns(outcomes: Sequence[Outcome]) -> int:
    """From the first intended sending to the end of the last request, answered or failed."""
    return max(each.ended_ns for each in outcomes) - min(each.intended_ns for each in outcomes)


def _rates(outcomes: Sequence[Outcome], objective: Objective) -> dict[str, Reading]:
    answered = [each for each in outcomes if not each.failure]
    seconds = duration_ns(outcomes) / 1e9
    if seconds <= 0:
        nothing = Missing("the run took no time")
        return dict.fromkeys(
            ("request_throughput", "output_throughput", "goodput", "kept_share", "error_rate"), nothing
        )
    found: dict[str, Reading] = {
        "error_rate": 100 * (len(outcomes) - len(answered)) / len(outcomes),
        "request_throughput": len(answered) / seconds,
        "output_throughput": _UNCOUNTED,
        "goodput": _NO_OBJECTIVE,
        "kept_share": _NO_OBJECTIVE,
    }
    counts = [each.tokens for each in answered if each.tokens is not None]
    if len(counts) == len(answered):
        found["output_throughput"] = sum(counts) / seconds
    if objective != Objective():
        kept = [keeps(each, objective) for each in outcomes]
        if None in kept:
            found["goodput"] = found["kept_share"] = _NO_TOKENS_SEEN
        else:
            found["goodput"] = kept.count(True) / seconds
            found["kept_share"] = 100 * kept.count(True) / len(outcomes)
    return found


def _percentiles(outcomes: Sequence[Outcome], own: OwnDelay) -> dict[str, Reading]:
    answered = [each for each in outcomes if not each.failure]
    firsts = [each.first_ns - each.intended_ns for each in answered if each.first_ns is not None]
    gaps = [gap for each in answered if (gap := each.gap_ns) is not None]
    spans = fmean([each.chunks - 1 for each in answered if each.gap_ns is not None]) if gaps else 1.0
    found: dict[str, Reading] = {}
    latencies = [each.ended_ns - each.intended_ns for each in answered]
    for name, share in PERCENTILES.items():
        whole, of = own.whole(share), _Percentile(name, share)
        found[f"request_latency_{name}"] = of(latencies, whole, "latency", Missing("no request was answered"))
        seen = firsts if len(firsts) == len(answered) else []
        found[f"request_ttft_{name}"] = of(seen, whole, "time to the first token", _NO_TOKENS_SEEN)
        # A gap is the mean of many: both of its ends are seen late, and the lag is shared by all gaps between them.
        no_gap = Missing("no answer had two tokens") if firsts else _NO_TOKENS_SEEN
        found[f"request_itl_{name}"] = of(gaps, own.seeing(share) / spans, "token gap", no_gap)
    return found


@dataclass(frozen=True, slots=True)
class _Percentile:
    """One percentile, where there are enough requests for it not to be the largest value under another name."""

    name: str
    share: float

    def __call__(self, times_ns: Sequence[float], own_ns: float, what: str, nothing: Missing) -> Reading:
        if not times_ns:
            return nothing
        needed = round(1 / (1 - self.share))
        if self.share > 0.5 and len(times_ns) < needed:
            return Missing(f"{self.name} needs {needed} answered requests; this run has {len(times_ns)}")
        time_ns = summarise(times_ns).quantile(self.share)
        assert not isinstance(time_ns, Missing)  # there are some
        refused = refusal(own_ns, time_ns, f"a {what} of")
        return round(time_ns) if refused is None else refused


def _whole_run_refused(outcomes: Sequence[Outcome], own: OwnDelay) -> Missing | None:
    """Why no rate of the run is the server's: its typical answer was held up by the generator."""
    latencies = [each.ended_ns - each.intended_ns for each in outcomes if not each.failure]
    if not latencies:
        return None
    median_ns = summarise(latencies).quantile(0.5)
    assert not isinstance(median_ns, Missing)
    return refusal(own.whole(0.5), median_ns, "a median latency of")
