"""Time: a stream whose every token is timed by another clock as well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ...backends.base import LoadContext, LoadedModel, Stamp
from ...backends.echo import Answer, EchoBackend
from ...clock import outside_s
from ...records import Completion, GenerationSettings, Missing, ModelSpec, Prompt, RoundRecord
from .base import PROMPT, SLEW, Sighting, Truth, measure_backend, reported

TOKENS: Final = 10
TAIL_S: Final = 0.01
_SCRIPT: Final = {"ttft": "20ms", "itl": "5ms", "tokens": str(TOKENS)}


@dataclass(slots=True)
class _Seen:
    """Times by the outside clock. A stamp of the loop lies between the two times of its token."""

    asked_s: float = 0.0
    """Before the loop was called."""
    begin_s: float = 0.0
    """When the backend was called."""
    before_s: list[float] = field(default_factory=list)
    after_s: list[float] = field(default_factory=list)
    end_s: float = 0.0
    told_s: float = 0.0
    """After the loop has answered."""


class _Watched:
    """The scripted backend, watched."""

    def __init__(self) -> None:
        self.seen = _Seen()
        self._inner = EchoBackend(ModelSpec(alias="stream", backend="echo", text="echo", options=dict(_SCRIPT)))

    def load(self, context: LoadContext) -> LoadedModel:
        return self._inner.load(context)

    def generate(self, prompt: Prompt, settings: GenerationSettings, stamp: Stamp) -> Answer:
        self.seen.begin_s = outside_s()
        before, after = self.seen.before_s, self.seen.after_s

        def watched() -> None:
            before.append(outside_s())
            stamp()
            after.append(outside_s())

        answer = self._inner.generate(prompt, settings, watched)
        time.sleep(TAIL_S)
        self.seen.end_s = outside_s()
        return answer

    def complete(self, produced: Answer) -> Completion:
        return self._inner.complete(produced)

    def close(self) -> None:
        self._inner.close()

    def forget(self) -> None:
        """Begin a new round."""
        self.seen = _Seen(asked_s=outside_s())


def plant_stream() -> Sequence[Sighting] | Missing:
    """Ten tokens: the first after 20 ms, then one every 5 ms, and 10 ms until the call returns."""
    watched, record = _measured_stream()
    seen = watched.seen
    # Everything that the loop does between being asked and asking the backend counts as uncertainty of the begin.
    call_s = seen.begin_s - seen.asked_s
    stamp_s = max(after - before for before, after in zip(seen.before_s, seen.after_s, strict=True))
    first, last = seen.before_s[0], seen.before_s[-1]
    ttft, latency, decoding = first - seen.begin_s, last - seen.begin_s, last - first
    from_begin, between = call_s + stamp_s, 2 * stamp_s
    prompt_tokens = len(PROMPT.shown.split())

    def time_of(metric: str, planted: float, slack_s: float, parts: int = 1) -> Sighting:
        slack = (slack_s + SLEW * planted * parts) / parts
        return Sighting(metric=metric, planted=planted, reported=reported(record, metric), tolerance=slack)

    def rate_of(metric: str, count: int, seconds: float, slack_s: float) -> Sighting:
        rate = count / seconds
        return Sighting(
            metric=metric,
            planted=rate,
            reported=reported(record, metric),
            tolerance=rate * (slack_s / seconds + SLEW),
        )

    def count_of(metric: str, count: int) -> Sighting:
        return Sighting(metric=metric, planted=count, reported=reported(record, metric), tolerance=0)

    return [
        time_of("latency", latency, from_begin),
        time_of("ttft", ttft, from_begin),
        time_of("itl", decoding / (TOKENS - 1), between, TOKENS - 1),
        time_of("tpot", decoding / (TOKENS - 1), between, TOKENS - 1),
        time_of("return_tail", seen.end_s - last, stamp_s + seen.told_s - seen.end_s),
        time_of("latency_per_token", latency / TOKENS, from_begin, TOKENS),
        rate_of("tokens_per_s", TOKENS, latency, from_begin),
        rate_of("prefill_tokens_per_s", prompt_tokens, ttft, from_begin),
        rate_of("decode_tokens_per_s", TOKENS - 1, decoding, between),
        count_of("prompt_tokens", prompt_tokens),
        count_of("output_tokens", TOKENS),
    ]


def plant_identity() -> Sequence[Sighting] | Missing:
    """The raw times add up to the latency to the nanosecond, whatever the machine did meanwhile."""
    _, record = _measured_stream()
    return [
        Sighting(
            metric="latency", planted=sum(record.token_ns) / 1e9, reported=reported(record, "latency"), tolerance=0
        )
    ]


def _measured_stream() -> tuple[_Watched, RoundRecord]:
    watched = _Watched()
    watched.load(LoadContext(threads=1, cache_dir="", say=lambda text: None))
    record = measure_backend(watched, before=watched.forget)[0]
    watched.seen.told_s = outside_s()
    return watched, record


TRUTHS: Final = (
    Truth(
        name="10 tokens: the first after 20 ms, one every 5 ms, 10 ms to return",
        metrics=(
            "latency", "ttft", "itl", "tpot", "return_tail", "latency_per_token", "tokens_per_s",
            "prefill_tokens_per_s", "decode_tokens_per_s", "prompt_tokens", "output_tokens",
        ),
        plant=plant_stream,
    ),
    Truth(name="time to first token and all gaps add up to the latency, exactly", metrics=("latency",), plant=plant_identity),
)  # fmt: skip
