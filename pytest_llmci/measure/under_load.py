"""What is measured of a run of many requests under load: one value a run."""

from __future__ import annotations

from typing import Final

from ..metrics import Direction, MetricDef
from ..units import Unit

PERCENTILES: Final[dict[str, float]] = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
MAX_RATE: Final = "max_rate"
"""Of a sweep alone."""
_TIMES: Final = {
    "request_latency": (
        "latency", "time from a request's intended sending to its last token",
        "nothing: what a request waits for others to end, here or at the server, is in it", "arrival of the last token - intended sending",
    ),
    "request_ttft": (
        "1st token", "time from a request's intended sending to its first token",
        "nothing: what a request waits before it is sent is in it", "arrival of the first token - intended sending",
    ),
    "request_itl": (
        "token gap", "mean gap between the tokens of a request", "the time to the first token",
        "(last arrival - first arrival) / (arrivals - 1)",
    ),
}  # fmt: skip


def _metric(
    name: str, unit: Unit, direction: Direction, definition: str, *, excludes: str = "nothing", source: str = "the requests' times",
    label: str = "",
) -> MetricDef:  # fmt: skip
    return MetricDef(
        name=name, unit=unit, direction=direction, definition=definition, excludes=excludes, source=source, scope="load",
        stored="ns" if unit == "s" else "si", group="under load", label=label,
    )  # fmt: skip


def _times() -> list[MetricDef]:
    found = []
    for name, (label, what, excludes, source) in _TIMES.items():
        for percentile in PERCENTILES:
            words = "Median" if percentile == "p50" else percentile
            found.append(
                _metric(
                    f"{name}_{percentile}", "s", "lower", f"{words} of the {what}, over the answered requests of one run.",
                    excludes=f"{excludes}; failed requests (error_rate)", source=source, label=f"{label} {percentile}",
                )
            )  # fmt: skip
    return found


LOAD_METRICS: Final[tuple[MetricDef, ...]] = (
    _metric("request_throughput", "1/s", "higher", "Answered requests of one run, over its duration.", label="requests/s",
            excludes="failed requests", source="from the first intended sending to the end of the last answer"),
    _metric("output_throughput", "1/s", "higher", "Output tokens of the answered requests of one run, over its duration.",
            label="out tok/s", excludes="tokens of prompts, of failed requests", source="as request_throughput; the model source counts"),
    _metric("goodput", "1/s", "higher", "Requests of one run that kept the objective, over its duration.",
            excludes="answers that kept one limit and missed another; failed requests",
            source="as request_throughput; limits on ttft, itl and latency of each single answer"),
    _metric("kept_share", "%", "higher", "Share of all requests of one run that kept the objective.", label="kept",
            excludes="nothing: a failed request has not kept it"),
    _metric("error_rate", "%", "lower", "Share of all requests of one run that failed.", label="errors",
            excludes="answers that came late; an answer without any token is a failure", source="the classified failures in the log"),
    *_times(),
    _metric(MAX_RATE, "1/s", "higher", "Highest rate of requests within the sweep's ends at which enough of them keep the objective.",
            label="max rate", excludes="rates beyond the ends of the sweep",
            source="a sweep: doubling, then halving, to its stated resolution; each step is in the log"),
    _metric("offered_rate", "1/s", "none", "Requests a second that were to be sent in one run.", label="offered",
            source="the schedule; of a sweep that of its best step"),
    _metric("generator_delay", "s", "none", "p95 of the generator's own delay in one run: sending late, and seeing late what came.",
            label="own delay", excludes="waits for what came before, which are the scenario's",
            source="sent - could be sent, and the lag of its event loop, sampled"),
    _metric("generator_cpu", "%", "none", "CPU time of the generator's process over the duration of the run, of one core.",
            label="own CPU", excludes="nothing: for a model that runs in the same process its own work is in it", source="process_time_ns"),
)  # fmt: skip
"""In the order in which they are shown."""
LOAD_METRIC_NAMES: Final = tuple(metric.name for metric in LOAD_METRICS)
