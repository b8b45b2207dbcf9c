"""Where a change of an answer's time lies: prefill, decode rate, output length, harness, noise.

The whole is the mean time of a call, from the request to its return: latency and ``return_tail``. Means are taken, as the
medians of parts do not add up to the median of the whole; these parts do, for every pair of samples:

``prefill``        time to the first token (``ttft``)
``decode rate``    the change of the time per further token, times the mean number of further tokens of both sides
``output length``  the change of that number, times the mean time per further token of both sides
``harness``        what the call does after its last token (``return_tail``)
``noise``          waiting for a CPU: wall time less ``net_time``

Rate and length share the change of a product by its Shapley values, which for two factors are those midpoints. No clock tells
which phase a wait met, so it is taken out of each in proportion to its length, a sample at a time. What the stamps of tokens
cost is the same program on both sides and stands in the decode rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from ...metrics import MetricDef
from ...records import ComparisonResult, Missing, Number, SlowdownPart, SlowdownResult
from ...text import one_line, wrapped
from ...units import format_duration
from ..schedule import CellMeasurement
from .cell_samples import CellSamples, met, samples_of

READ: Final = ("latency", "ttft", "return_tail", "output_tokens", "net_time", "steal")
"""Metrics that it takes, as far as there are any."""
_ELSEWHERE: Final = Missing("the reference was measured in another session, which holds no samples of this cell")
_OF_TIME: Final = frozenset({"latency", "ttft", "itl", "tpot", "latency_per_token", "net_time", "cpu_time"})
"""Metrics whose regression it explains."""
_MEANING: Final = {
    "prefill": "until the first token",
    "decode rate": "time per further token",
    "output length": "number of further tokens",
    "harness": "from the last token to the return of the call",
    "noise": "waiting for a CPU",
}
PARTS: Final = tuple(_MEANING)
"""Names of the parts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One reason of a change."""

    name: str
    meaning: str
    change: Number
    """Seconds; missing where it cannot be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowdown:
    """The change of the mean time of a call, in parts that add up to it."""

    before: float
    """Seconds."""
    now: float
    samples: tuple[int, int]
    """How many samples each mean is of."""
    parts: tuple[Part, ...]
    untold: float | None
    """Seconds that lie in missing parts, together; None where none of these holds any time of its own."""
    steal: Number
    """Change of the CPU time that the hypervisor took, over all CPUs: it stands beside the parts, as nobody knows which it met."""

    @property
    def change(self) -> float:
        """Seconds."""
        return self.now - self.before

    def share(self, seconds: float) -> float:
        """As a part of the reference's time: those of the parts add up to the relative change of the whole."""
        return seconds / self.before if self.before else math.nan


def is_explained(results: Iterable[ComparisonResult]) -> bool:
    """Whether a time among the results regressed, or answers have another length, so that their times are not compared."""
    return any(
        result.verdict == "regressed"
        if result.metric in _OF_TIME
        else result.metric == "output_tokens" and result.verdict != "pass" and result.base is not None
        for result in results
    )


def slowdown(base: CellSamples, now: CellSamples) -> Slowdown | Missing:
    """Split the change of the mean time of a call.

    :param base: the reference, with the metrics of :data:`READ` as far as every sample has them.
    :returns: missing where a side has no latency.
    """
    for side, name in ((base, "the reference"), (now, "the candidate")):
        if not side.values.get("latency"):
            return Missing(f"{name} has no latency: {side.reasons.get('latency', 'no round was measured')}")
    phases = [_phases(side) for side in (base, now)]
    stamped = all(has_all(side, "ttft", "return_tail") for side in (base, now))
    timed = all(has_all(side, "net_time") for side in (base, now))
    why_no_phase = Missing(_why("ttft", base, now))
    before, after = (_Means.of(each, stamped=stamped, timed=timed) for each in phases)
    rate, length, untold = _decoding(base, now, before, after) if stamped else (why_no_phase, why_no_phase, None)
    parts = (
        _part("prefill", after.prefill - before.prefill if stamped else why_no_phase),
        _part("decode rate", rate),
        _part("output length", length),
        _part("harness", after.tail - before.tail if stamped else why_no_phase),
        _part("noise", after.wait - before.wait if timed else Missing(_why("net_time", base, now))),
    )
    if not stamped:
        untold = after.rest - before.rest
    return Slowdown(
        before=before.whole, now=after.whole, samples=(before.n, after.n), parts=parts, untold=untold, steal=_steal(base, now)
    )  # fmt: skip


def _part(name: str, change: Number) -> Part:
    return Part(name=name, meaning=_MEANING.get(name, ""), change=change)


def has_all(side: CellSamples, *metrics: str) -> bool:
    """Whether every sample of a side has these metrics."""
    return all(len(side.values.get(name, ())) == len(side.values["latency"]) for name in metrics)


def _why(metric: str, base: CellSamples, now: CellSamples) -> str:
    side, name = (now, "the candidate") if has_all(base, metric) else (base, "the reference")
    return f"{metric} of {name}: {side.reasons.get(metric, 'not measured')}"


@dataclass(frozen=True, slots=True)
class _Phases:
    """Columns over the samples of one side, seconds; without stamps all time is decoding."""

    prefill: list[float]
    decoding: list[float]
    tail: list[float]
    net: list[float] | None
    tokens: list[float]


def _phases(side: CellSamples) -> _Phases:
    latency = side.values["latency"]
    zeros = [0.0] * len(latency)
    prefill = side.values["ttft"] if has_all(side, "ttft", "return_tail") else zeros
    return _Phases(
        prefill=prefill,
        decoding=[whole - first for whole, first in zip(latency, prefill, strict=True)],
        tail=side.values["return_tail"] if prefill is not zeros else zeros,
        net=side.values["net_time"] if has_all(side, "net_time") else None,
        tokens=side.values["output_tokens"] if has_all(side, "output_tokens") else [],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Means:
    """Means of one side in seconds, waits taken out of each phase where they are known of both sides."""

    n: int
    whole: float
    prefill: float
    decoding: float
    tail: float
    wait: float

    @property
    def rest(self) -> float:
        """All but the waits."""
        return self.whole - self.wait

    @classmethod
    def of(cls, phases: _Phases, *, stamped: bool, timed: bool) -> _Means:
        prefill, decoding, tail = phases.prefill, phases.decoding, phases.tail
        if not stamped:
            decoding = [one + other for one, other in zip(prefill, decoding, strict=True)]
            prefill = [0.0] * len(decoding)
        walls = [sum(each) for each in zip(prefill, decoding, tail, strict=True)]
        net = phases.net if timed and phases.net is not None else walls
        shares = [own / wall if wall > 0 else 1.0 for own, wall in zip(net, walls, strict=True)]
        return cls(
            n=len(walls),
            whole=fmean(walls),
            prefill=_scaled(prefill, shares),
            decoding=_scaled(decoding, shares),
            tail=_scaled(tail, shares),
            wait=fmean(walls) - _scaled(walls, shares),
        )


def _scaled(values: Sequence[float], shares: Sequence[float]) -> float:
    return fmean(value * share for value, share in zip(values, shares, strict=True))


def _decoding(
    base: CellSamples, now: CellSamples, before: _Means, after: _Means
) -> tuple[Number, Number, float | None]:
    """Decode rate and output length, or why they are not told apart and what they are together."""
    if not all(has_all(side, "output_tokens") for side in (base, now)):
        why = Missing(_why("output_tokens", base, now))
        return why, why, after.decoding - before.decoding
    few, many = (fmean(side.values["output_tokens"]) - 1 for side in (base, now))
    if few <= 0 or many <= 0:
        why = Missing("a side has answers of a single token")
        return why, why, after.decoding - before.decoding
    slow, fast = after.decoding / many, before.decoding / few
    return (slow - fast) * (few + many) / 2, (many - few) * (slow + fast) / 2, None


def _steal(base: CellSamples, now: CellSamples) -> Number:
    if not (has_all(base, "steal") and has_all(now, "steal")):
        return Missing(_why("steal", base, now))
    return fmean(now.values["steal"]) - fmean(base.values["steal"])


# ------------------------------------------------------------------------------------------------------- where it comes from


def of_measurement(measurement: CellMeasurement, metrics: Mapping[str, MetricDef]) -> SlowdownResult | None:
    """Of a cell whose time became worse beside a reference, or against a stored one; None where none did.

    Where both were there, the reference that was measured beside it, if that is what it is slower than.
    """
    stored = measurement.stored_base
    beside = [result for result in measurement.comparisons if result.against == measurement.against]
    wanted = {name: metrics[name] for name in READ if name in metrics}
    if measurement.reference_blocks and is_explained(beside):
        base, now = (samples_of(side, wanted) for side in met(measurement.reference_blocks, measurement.blocks))
        return recorded(slowdown(base, now), measurement.against)
    if stored is not None:
        return recorded(slowdown(stored.samples, samples_of(measurement.whole_blocks, wanted)), stored.against)
    worse = next((result.against for result in measurement.comparisons if is_explained([result])), None)
    return None if worse is None else recorded(_ELSEWHERE, worse)


def recorded(found: Slowdown | Missing, against: str) -> SlowdownResult:
    """As the log keeps it.

    :param against: the reference as people know it.
    """
    if isinstance(found, Missing):
        return SlowdownResult(against=against, reason=found.reason)
    parts = [
        SlowdownPart(name=part.name, change=None, reason=part.change.reason)
        if isinstance(part.change, Missing)
        else SlowdownPart(name=part.name, change=part.change)
        for part in found.parts
    ]
    return SlowdownResult(
        against=against, before=found.before, now=found.now, samples_before=found.samples[0], samples_now=found.samples[1],
        parts=parts, untold=found.untold, steal=None if isinstance(found.steal, Missing) else found.steal,
    )  # fmt: skip


def of_record(result: SlowdownResult) -> Slowdown | Missing:
    """What a log says."""
    if result.before is None or result.now is None:
        return Missing(result.reason)
    parts = (_part(part.name, Missing(part.reason) if part.change is None else part.change) for part in result.parts)
    return Slowdown(
        before=result.before, now=result.now, samples=(result.samples_before, result.samples_now), parts=tuple(parts),
        untold=result.untold, steal=Missing("not in the log") if result.steal is None else result.steal,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- in words


def milliseconds(seconds: float) -> str:
    """
    >>> milliseconds(0.0123), milliseconds(-1.5), milliseconds(0.0)
    ('+12.3 ms', '-1500.0 ms', '0.0 ms')
    """
    text = f"{1000 * seconds:+.1f}"
    return f"{'0.0' if float(text) == 0 else text} ms"


def percents(share: float) -> str:
    """
    >>> percents(0.0123), percents(198.882), percents(float("nan"))
    ('+1.2 %', '+19,888 %', 'n/a')
    """
    if not math.isfinite(share):
        return "n/a"
    if abs(share) >= 10:
        return f"{100 * share:+,.0f} %"
    text = f"{100 * share:+.1f}"
    return f"{'0.0' if float(text) == 0 else text} %"


def rows(found: Slowdown) -> list[tuple[str, str, str, str]]:
    """Name, milliseconds, per cent of the reference's time and meaning of each part; of a missing one why it is missing."""
    table = [
        (part.name, "n/a", "n/a", part.change.reason)
        if isinstance(part.change, Missing)
        else (part.name, milliseconds(part.change), percents(found.share(part.change)), part.meaning)
        for part in found.parts
    ]
    if found.untold is not None:
        meaning = "the missing parts together"
        table.append(("not told apart", milliseconds(found.untold), percents(found.share(found.untold)), meaning))
    return [*table, ("whole", milliseconds(found.change), percents(found.share(found.change)), whole_words(found))]


def row_of(found: Slowdown) -> tuple[str, ...]:
    """One column a part, in the order of :data:`PARTS`, and the whole: for a table with a row a cell."""
    changes = [*(part.change for part in found.parts), found.change]
    return tuple(
        "n/a" if isinstance(each, Missing) else f"{milliseconds(each)} ({percents(found.share(each))})" for each in changes
    )  # fmt: skip


def one_line_of(found: Slowdown) -> str:
    """
    >>> parts = (Part(name="prefill", meaning="", change=0.02), Part(name="noise", meaning="", change=Missing("no clock")))
    >>> one_line_of(Slowdown(before=0.1, now=0.12, samples=(5, 5), parts=parts, untold=None, steal=0.0))
    '100 ms -> 120 ms a call: prefill +20.0 ms, noise n/a'
    """
    parts = [f"{name} {change}" for name, change, _, _ in rows(found)[:-1]]
    return f"{format_duration(found.before)} -> {format_duration(found.now)} a call: {', '.join(parts)}"


def whole_words(found: Slowdown) -> str:
    """What the whole is."""
    return f"mean time of a call, {format_duration(found.before)} before, {format_duration(found.now)} now"


def steal_words(found: Slowdown) -> str:
    """What the hypervisor took more; empty where nothing is known or nothing changed."""
    if isinstance(found.steal, Missing) or abs(found.steal) < 5e-5:
        return ""
    return f"{milliseconds(found.steal)} of CPU time an answer, over all CPUs, in whichever part it met"


def slowdown_lines(found: Slowdown | Missing, width: int) -> list[str]:
    """For the terminal."""
    if isinstance(found, Missing):
        return wrapped(found.reason, width, first=f"  {'where':<10} not known: ", rest=" " * 13)
    table = rows(found)
    wide = [max(len(row[place]) for row in table) for place in range(3)]
    lines = []
    for number, (name, change, share, meaning) in enumerate(table):
        label = "where" if not number else ""
        start = f"  {label:<10} {name.ljust(wide[0])}  {change.rjust(wide[1])}  {share.rjust(wide[2])}  "
        lines += wrapped(one_line(meaning), width, first=start, rest=" " * len(start))
    if words := steal_words(found):
        lines += wrapped(words, width, first=f"  {'steal':<10} ", rest=" " * 13)
    return lines
