"""Runs next to the model. ``model`` and ``tokenizer`` are those of transformers."""

from __future__ import annotations

from typing import Any


def logits(backend: Any, text: str) -> Any:
    """One number for each entry of the vocabulary: how much the model wants it to come next."""
    import torch

    inputs = backend.tokenizer(text, add_special_tokens=False, return_tensors="pt").to(backend.model.device)
    with torch.inference_mode():
        return backend.model(**inputs).logits[0, -1].float().cpu().numpy()


def first_token(backend: Any, text: str) -> int:
    """Number of the first token of a text."""
    return int(backend.tokenizer(text, add_special_tokens=False)["input_ids"][0])
