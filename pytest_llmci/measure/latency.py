"""Latency and speed from the raw times at which tokens arrived.

Times are integer nanoseconds: the first entry of ``token_ns`` is the time to the first token, each further one the gap
before the next, so that TTFT + sum(ITL) = latency holds exactly. Latency ends at the last token; what ``generate`` does
after it is ``return_tail``.
"""

from __future__ import annotations

from typing import ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import Reading, RoundFacts

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
    token_ns, wall_ns, prompt = facts.token_ns, facts.wall_ns, facts.completion.prompt_tokens
    output = facts.completion.output_tokens
    latency = sum(token_ns) if token_ns else wall_ns
    tail = wall_ns - latency
    if wall_ns < 0 or tail < 0 or (token_ns and min(token_ns) < 0):
        values: dict[str, Reading] = dict.fromkeys(_NAMES, _CLOCK_WENT_BACK)
    else:
        # Written out, without a function for each: this is done after each round, and the next one waits for it.
        values = dict.fromkeys(_NAMES, _NO_TOKENS if output == 0 else _NO_STAMPS)
        values["latency"] = latency
        if not output:
            values["tokens_per_s"] = values["latency_per_token"] = _UNCOUNTED if output is None else _NO_TOKENS
        else:
            values["tokens_per_s"] = output * 1e9 / latency if latency > 0 else _NO_TIME
            values["latency_per_token"] = round(latency / output)
        if token_ns:
            values["ttft"] = ttft = token_ns[0]
            values["return_tail"] = tail
            gaps, decoding_ns = len(token_ns) - 1, latency - ttft
            values["itl"] = round(decoding_ns / gaps) if gaps else _ONE_STAMP
            if prompt is None:
                values["prefill_tokens_per_s"] = _UNCOUNTED
            else:
                values["prefill_tokens_per_s"] = prompt * 1e9 / ttft if ttft > 0 else _NO_TIME
            if output is not None and output > 1 and gaps and decoding_ns > 0:
                values["tpot"] = round(decoding_ns / (output - 1))
                values["decode_tokens_per_s"] = (output - 1) * 1e9 / decoding_ns
            else:
                values["tpot"] = values["decode_tokens_per_s"] = _no_decoding(output, gaps)
    values["prompt_tokens"] = _UNCOUNTED if prompt is None else prompt
    values["output_tokens"] = _UNCOUNTED if output is None else output
    return values


def _no_decoding(output: int | None, gaps: int) -> Missing:
    """Why there is no time per token after the first."""
    if output is None:
        return _UNCOUNTED
    if output < 2:
        return _ONE_TOKEN
    return _NO_TIME if gaps else _ONE_STAMP


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


_NAMES: Final = tuple(metric.name for metric in LatencyInstrument.metrics)
