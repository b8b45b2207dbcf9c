"""What a stream of an endpoint tells beside its tokens: when reasoning and answer began, what came from a cache, what failed before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import NothingRead, Reading, RoundFacts, nothing_to_note

_ONE_KIND: Final = Missing("this model source does not tell reasoning and answer apart")
_NO_STAMP: Final = Missing("no piece of the answer was seen to arrive")
_NO_REASONING: Final = Missing("the stream separates no reasoning")
_NO_CONTENT: Final = Missing("no piece of the answer itself arrived")
_UNCOUNTED: Final = Missing("this model source does not tell")
_NO_RETRIES: Final = Missing("this model source makes one attempt only")
_UNGROUPED: Final = Missing("tokens or arrivals are not counted")
_NO_ENDPOINT: Final = NothingRead(
    {
        "ttft_any": _ONE_KIND,
        "ttft_reasoning": _ONE_KIND,
        "ttft_content": _ONE_KIND,
        "tokens_per_piece": _UNGROUPED,
        "cached_tokens": _UNCOUNTED,
        "reasoning_tokens": _UNCOUNTED,
        "retries": _NO_RETRIES,
    }
)


class EndpointInstrument:
    """Reads what the model source noted; nothing is done while time counts."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="ttft_any",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            label="1st piece",
            definition="Time from the request to the first generated piece of any kind: reasoning, answer, or arguments of a tool call.",
            excludes="the role, empty chunks, comments, finish reason and usage, which hold nothing that was generated",
            source="perf_counter_ns at the arrival of the piece; equal to ttft",
        ),
        MetricDef(
            name="ttft_reasoning",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            label="1st reasoning",
            definition="Time from the request to the first piece of reasoning (`reasoning_content` or `reasoning` of a chunk).",
            excludes="reasoning that a server sends as a part of its answer: it cannot be told apart",
            source="perf_counter_ns at the arrival of the piece",
        ),
        MetricDef(
            name="ttft_content",
            unit="s",
            direction="lower",
            stored="ns",
            group="time",
            label="1st of answer",
            definition="Time from the request to the first piece of the answer itself, behind all reasoning: what a reader waits for.",
            excludes="reasoning, arguments of tool calls",
            source="perf_counter_ns at the arrival of the piece",
        ),
        MetricDef(
            name="tokens_per_piece",
            unit="1",
            direction="none",
            group="tokens",
            label="tok/piece",
            definition="Output tokens divided by the pieces in which they arrived: 1 where each came alone, so that a gap is a token's.",
            excludes="chunks without generated text",
            source="output_tokens, the pieces of the stream",
        ),
        MetricDef(
            name="cached_tokens",
            unit="1",
            direction="none",
            group="tokens",
            label="cached tok",
            definition="Tokens of the prompt that the server took from its prefix cache.",
            excludes="nothing; missing where the server does not tell",
            source="the server's usage",
        ),
        MetricDef(
            name="reasoning_tokens",
            unit="1",
            direction="none",
            group="tokens",
            label="reasoning tok",
            definition="Output tokens that were reasoning.",
            excludes="nothing; missing where the server does not tell",
            source="the server's usage",
        ),
        MetricDef(
            name="retries",
            unit="1",
            direction="lower",
            group="tokens",
            label="retries",
            definition="Attempts that failed at the server before the one that was measured: 429, 5xx, no connection.",
            excludes="their time and the waits after them, which are in no latency; the round says what each failed of",
            source="the model source",
        ),
    )

    start = stop = nothing_to_note

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        """The metrics of the round that was stopped last."""
        completion = facts.completion
        if (
            not completion.piece_kinds
            and completion.cached_tokens is completion.reasoning_tokens is completion.retries is None
        ):
            return _NO_ENDPOINT
        output, pieces = completion.output_tokens, len(facts.token_ns)
        return {
            "ttft_any": _first(facts, "crbt", _NO_STAMP),
            "ttft_reasoning": _first(facts, "rb", _NO_REASONING),
            "ttft_content": _first(facts, "cb", _NO_CONTENT),
            "tokens_per_piece": output / pieces if completion.piece_kinds and output is not None and pieces else _UNGROUPED,
            "cached_tokens": _counted(completion.cached_tokens, _UNCOUNTED),
            "reasoning_tokens": _counted(completion.reasoning_tokens, _UNCOUNTED),
            "retries": _counted(completion.retries, _NO_RETRIES),
        }  # fmt: skip


def _counted(count: int | None, otherwise: Missing) -> Reading:
    return otherwise if count is None else count


def _first(facts: RoundFacts, kinds: str, none: Missing) -> Reading:
    """Time to the first piece of one of these kinds."""
    told = facts.completion.piece_kinds
    if not told:
        return _ONE_KIND if facts.completion.retries is None else _NO_STAMP
    place = next((number for number, kind in enumerate(told) if kind in kinds), None)
    return none if place is None else sum(facts.token_ns[: place + 1])
