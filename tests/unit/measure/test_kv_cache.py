from __future__ import annotations

import pytest

from pytest_llmci.measure.base import Reading, RoundFacts
from pytest_llmci.measure.kv_cache import KvCacheInstrument
from pytest_llmci.records import Completion, Missing


def read(size: int | None, tokens: int | None) -> Reading:
    completion = Completion(text="x", finish_reason="stop", kv_cache_bytes=size, kv_cache_tokens=tokens)
    instrument = KvCacheInstrument()
    instrument.start()
    instrument.stop()
    return instrument.read(RoundFacts(wall_ns=1, token_ns=(), completion=completion, threads=1))["kv_cache_per_token"]


def test_bytes_are_divided_by_the_tokens_that_they_hold() -> None:
    assert read(4096, 16) == 256
    assert read(10, 4) == 2.5


@pytest.mark.parametrize(("size", "tokens"), [(None, None), (None, 3), (3, None), (3, 0)])
def test_without_a_count_there_is_a_reason(size: int | None, tokens: int | None) -> None:
    found = read(size, tokens)
    assert isinstance(found, Missing) and "does not tell how large" in found.reason
