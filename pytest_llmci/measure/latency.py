"""Latency and speed from the raw times at which tokens arrived.

Times are integer nanoseconds: the first entry of ``token_ns`` is the time to the first token, each further one the gap
before the next, so that TTFT + sum(ITL) = latency holds exactly. Latency ends at the last token; what ``generate`` does
after it is ``return_tail``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import Reading, RoundFacts

if TYPE_CHECKING:
    from .region import Figures

_NO_STAMPS = Missing("this model source does not tell when tokens arrive")
_NO_TOKENS = Missing("the model produced no token")
_ONE_STAMP = Missing("only one token or chunk arrived, so there is no gap to measure")
_ONE_TOKEN = Missing("fewer than two tokens were produced")
_UNCOUNTED = Missing("this model source does not count tokens")
_CLOCK_WENT_BACK = Missing("the clock went back during the inference")
_NO_TIME = Missing("the clock saw no time pass between the tokens")


def latency_values(facts: RoundFacts) -> dict[str, Reading]:
    """All metrics of time and speed of one inference.

    :param facts: its token times in nanoseconds, its wall time and its counts.
    :returns: metric name -> number as stored (times in nanoseconds, rates per second) or why there is none.

    Source: docs/metrics.md.
    """
    token_ns, wall_ns, completion = facts.token_ns, facts.wall_ns, facts.completion
    output = completion.output_tokens
    latency = sum(token_ns) if token_ns else wall_ns
    tail = wall_ns - latency
    if wall_ns < 0 or tail < 0 or (token_ns and min(token_ns) < 0):
        values: dict[str, Reading] = dict.fromkeys(_NAMES, _CLOCK_WENT_BACK)
    elif token_ns:
        ttft = token_ns[0]
        tpot, decoding = _decoding(len(token_ns), latency - ttft, output)
        values = {
            "latency": latency,
            "ttft": ttft,
            "itl": _mean_gap_ns(len(token_ns) - 1, latency - ttft),
            "tpot": tpot,
            "return_tail": tail,
            "tokens_per_s": _rate(output, latency),
            "latency_per_token": _per_token(output, latency),
            "prefill_tokens_per_s": _prefill_rate(completion.prompt_tokens, ttft),
            "decode_tokens_per_s": decoding,
        }
    else:
        values = dict.fromkeys(_NAMES, _NO_TOKENS if output == 0 else _NO_STAMPS)
        values["latency"] = latency
        values["tokens_per_s"] = _rate(output, latency)
        values["latency_per_token"] = _per_token(output, latency)
    values["prompt_tokens"] = _counted(completion.prompt_tokens)
    values["output_tokens"] = _counted(output)
    return values


def _counted(count: int | None) -> Reading:
    return _UNCOUNTED if count is None else count


def _mean_gap_ns(gaps: int, decoding_ns: int) -> Reading:
    return round(decoding_ns / gaps) if gaps else _ONE_STAMP


def _rate(output: int | None, latency_ns: int) -> Reading:
    if output is None:
        return _UNCOUNTED
    if output == 0:
        return _NO_TOKENS
    return output * 1e9 / latency_ns if latency_ns > 0 else _NO_TIME


def _per_token(output: int | None, latency_ns: int) -> Reading:
    if output is None:
        return _UNCOUNTED
    return round(latency_ns / output) if output else _NO_TOKENS


def _prefill_rate(prompt: int | None, ttft_ns: int) -> Reading:
    if prompt is None:
        return _UNCOUNTED
    return prompt * 1e9 / ttft_ns if ttft_ns > 0 else _NO_TIME


def _decoding(stamped: int, decoding_ns: int, output: int | None) -> tuple[Reading, Reading]:
    """Time per token after the first, and its inverse."""
    if output is not None and output > 1 and stamped > 1 and decoding_ns > 0:
        return round(decoding_ns / (output - 1)), (output - 1) * 1e9 / decoding_ns
    if output is None:
        why = _UNCOUNTED
    elif output < 2:
        why = _ONE_TOKEN
    else:
        why = _ONE_STAMP if stamped < 2 else _NO_TIME
    return why, why


class LatencyInstrument:
    """When tokens arrived, and how many there were."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="latency",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            definition="Time from the request to the last token, or to the return where none is seen to arrive.",
            excludes="loading, warm-up, turning ids into text, what the call does after its last token (return_tail)",
            source="perf_counter_ns in the model's process",
        ),
        MetricDef(
            name="ttft",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            label="1st token",
            definition="Time from the request to the first token of the answer (TTFT).",
            excludes="the prompt, which some libraries hand to their streamer first",
            source="perf_counter_ns at the arrival of the first token",
        ),
        MetricDef(
            name="itl",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            label="token gap",
            definition="Mean gap between arriving tokens (ITL); between chunks where the source groups tokens.",
            excludes="the time to the first token; each single gap is kept in the log",
            source="perf_counter_ns at each arrival; TTFT + sum of the gaps = latency exactly",
        ),
        MetricDef(
            name="tpot",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            label="time/token",
            definition="Time per output token after the first (TPOT): (latency - TTFT) / (output tokens - 1).",
            excludes="the time to the first token",
            source="perf_counter_ns at the first and the last arrival; output_tokens",
        ),
        MetricDef(
            name="return_tail",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            label="return tail",
            definition="Time between the last token and the return of the call.",
            excludes="turning ids into text",
            source="perf_counter_ns",
        ),
        MetricDef(
            name="tokens_per_s",
            unit="1/s",
            direction="higher",
            group="tokens",
            label="tokens/s",
            definition="Output tokens divided by latency.",
            excludes="prompt tokens",
            source="output_tokens, latency",
        ),
        MetricDef(
            name="latency_per_token",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            label="latency/token",
            definition="Latency divided by output tokens: for answers of free length, where a longer one is not a slower model.",
            excludes="what the call does after its last token; unlike tpot it holds the prompt's share",
            source="latency, output_tokens",
        ),
        MetricDef(
            name="prefill_tokens_per_s",
            unit="1/s",
            direction="higher",
            group="tokens",
            label="prefill tok/s",
            definition="Prompt tokens divided by the time to the first token.",
            excludes="nothing: choosing the first token and cutting the prompt into tokens are in it",
            source="prompt_tokens, ttft",
        ),
        MetricDef(
            name="decode_tokens_per_s",
            unit="1/s",
            direction="higher",
            group="tokens",
            label="decode tok/s",
            definition="(Output tokens - 1) divided by the time from the first token to the last.",
            excludes="the prompt's share of the time (ttft)",
            source="output_tokens, perf_counter_ns at the first and the last arrival",
        ),
        MetricDef(
            name="prompt_tokens",
            unit="1",
            direction="none",
            deterministic=True,
            group="tokens",
            label="prompt tok",
            definition="Tokens of the prompt as the model got it, with what a chat template adds.",
            excludes="nothing; missing where the source does not count",
            source="the model source; the record says who counted",
        ),
        MetricDef(
            name="output_tokens",
            unit="1",
            direction="none",
            deterministic=True,
            group="tokens",
            label="output tok",
            definition="Tokens of the answer.",
            excludes="the prompt; missing where the source does not count",
            source="the model source; the record says who counted",
        ),
    )

    def read(self, _figures: Figures, facts: RoundFacts) -> Mapping[str, Reading]:
        """The metrics of a region that has ended."""
        return latency_values(facts)


_NAMES: Final = tuple(metric.name for metric in LatencyInstrument.metrics)
