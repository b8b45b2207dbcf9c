"""Run with ``--llm-models=SPEC``, a model that transformers runs."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmci import LLM

np = pytest.importorskip("numpy")


def log_probabilities(llm: LLM, text: str) -> Any:
    found: Any = llm.call("next_token:logits", text)
    return found - found.max() - np.log(np.exp(found - found.max()).sum())


def test_logits_are_numbers_and_the_same_each_time(llm: LLM) -> None:
    found: Any = llm.call("next_token:logits", "The capital of France is")
    assert found.shape == (llm.info["vocabulary"],)
    assert np.isfinite(found).all()
    assert (found == llm.call("next_token:logits", "The capital of France is")).all()


def test_the_instrument_agrees_with_score(llm: LLM) -> None:
    """``llm.score`` gives the same number for one token; a test of one's own function as much as of the model."""
    token: Any = llm.call("next_token:first_token", " x")
    ours = log_probabilities(llm, "a b c")[token]
    assert ours == pytest.approx(llm.score("a b c", " x").logprobs[0], abs=1e-3)


def test_it_knows_the_capital(llm: LLM) -> None:
    table = log_probabilities(llm, "The capital of France is")
    paris, rome = (table[llm.call("next_token:first_token", f" {city}")] for city in ("Paris", "Rome"))
    assert paris > rome
