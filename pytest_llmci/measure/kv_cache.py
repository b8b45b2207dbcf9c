"""How much memory an answer takes with each token: the keys and values that the model keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..metrics import MetricDef
from ..records import Missing
from .base import NothingRead, Reading, RoundFacts, nothing_to_note

_UNKNOWN: Final = NothingRead(
    {"kv_cache_per_token": Missing("this model source does not tell how large its key-value cache is")}
)


class KvCacheInstrument:
    """Reads what the model source counted; nothing is done while time counts."""

    metrics: ClassVar[tuple[MetricDef, ...]] = (
        MetricDef(
            name="kv_cache_per_token",
            unit="B",
            direction="lower",
            deterministic=True,
            group="memory",
            label="KV/token",
            definition="Bytes of the keys and values that the model holds at the end of the answer, divided by the tokens they hold.",
            excludes="states of a fixed size; room that a paged cache reserves. A sliding window holds fewer tokens than other layers",
            source="the model source, over distinct tensors",
        ),
    )

    start = stop = nothing_to_note

    def read(self, facts: RoundFacts) -> Mapping[str, Reading]:
        """The metric of the round that was stopped last."""
        size, tokens = facts.completion.kv_cache_bytes, facts.completion.kv_cache_tokens
        return {"kv_cache_per_token": size / tokens} if size is not None and tokens else _UNKNOWN
