"""How large the keys and values are that a transformers model kept of an inference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .packages import Foreign


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheSize:
    """Size of a cache at the end of an inference."""

    num_bytes: int
    """Of all keys and values, each distinct tensor once: layers may share theirs."""
    tokens: int
    """Tokens that they have a place for; of layers that keep different numbers the largest one."""


def cache_size(cache: Foreign) -> CacheSize | None:
    """Count a cache of transformers.

    :param cache: ``past_key_values`` of what ``generate`` returned.
    :returns: None where there are no keys and values: no cache, states of a fixed size, or a form that is not known.
    """
    found = {}
    for layer in getattr(cache, "layers", None) or ():
        if hasattr(layer, "_quantized_keys"):  # packed: the tensors beside hold only what is not packed yet
            return None
        for tensor in _tensors(layer):
            found[str(tensor.device), tensor.data_ptr()] = tensor
    tokens = max((tensor.shape[-2] for tensor in found.values()), default=0)
    if not tokens:
        return None
    return CacheSize(num_bytes=sum(each.numel() * each.element_size() for each in found.values()), tokens=tokens)


def _tensors(layer: Foreign) -> Iterator[Foreign]:
    for name in ("keys", "values"):
        tensor = getattr(layer, name, None)
        if tensor is not None and tensor.numel():
            yield tensor
