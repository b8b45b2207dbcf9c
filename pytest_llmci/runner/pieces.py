"""Tokens as text, asked of a model in its process."""

from __future__ import annotations

from collections.abc import Sequence


def token_texts(backend: object, ids: Sequence[int]) -> list[str] | None:
    """For ``llm.call``: each token alone as text, special ones included; None where the model source has no tokenizer."""
    decode = getattr(getattr(backend, "tokenizer", None), "decode", None)
    return None if decode is None else [str(decode([token])) for token in ids]
