from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.backends.kv_cache import CacheSize, cache_size

torch = pytest.importorskip("torch")
caches = pytest.importorskip("transformers.cache_utils")


def states(tokens: int, heads: int = 3, width: int = 5) -> Any:
    return torch.ones(1, heads, tokens, width, dtype=torch.float32)


def test_keys_and_values_of_all_layers_count() -> None:
    cache = caches.DynamicCache()
    for layer in range(2):
        cache.update(states(7), states(7, width=4), layer)
    assert cache_size(cache) == CacheSize(num_bytes=2 * 7 * 3 * (5 + 4) * 4, tokens=7)


def test_layers_that_share_a_tensor_count_it_once() -> None:
    shared = states(4)
    layers = [SimpleNamespace(keys=shared, values=shared + 1), SimpleNamespace(keys=shared, values=None)]
    assert cache_size(SimpleNamespace(layers=layers)) == CacheSize(num_bytes=2 * 4 * 3 * 5 * 4, tokens=4)


def test_a_sliding_window_holds_fewer_tokens_than_the_layers_beside_it() -> None:
    window = caches.DynamicSlidingWindowLayer(sliding_window=4)
    cache = caches.Cache(layers=[window, caches.DynamicLayer()])
    for layer in range(2):
        cache.update(states(10), states(10), layer)
    assert cache_size(cache) == CacheSize(num_bytes=2 * (3 + 10) * 3 * 5 * 4, tokens=10)


def test_room_that_is_not_filled_counts_on_both_sides() -> None:
    cache = caches.Cache(layers=[caches.StaticLayer(max_cache_len=32)])
    cache.update(states(6), states(6), 0)
    assert cache_size(cache) == CacheSize(num_bytes=2 * 32 * 3 * 5 * 4, tokens=32)


@pytest.mark.parametrize(
    "cache",
    [
        None,
        ((states(2), states(2)),),  # a form of older versions, whose last axis but one need not be the tokens
        caches.DynamicCache(),
        SimpleNamespace(layers=[SimpleNamespace(conv_states={}, recurrent_states={})]),
        SimpleNamespace(layers=[SimpleNamespace(keys=states(2), values=states(2), _quantized_keys=b"")]),
    ],
    ids=["none", "tuple", "empty", "recurrent", "packed"],
)
def test_what_holds_no_plain_keys_and_values_has_no_size(cache: object) -> None:
    assert cache_size(cache) is None
