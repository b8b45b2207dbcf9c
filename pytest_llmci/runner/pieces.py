"""Tokens as text, asked of a model in its process."""

from __future__ import annotations

from collections.abc import Sequence


def token_texts(backend: object, ids: Sequence[int]) -> list[str] | None:
    """For ``llm.call``: each token alone as text; None where the model source has no ``token_texts``."""
    texts = getattr(backend, "token_texts", None)
    return None if texts is None else [str(text) for text in texts(ids)]
