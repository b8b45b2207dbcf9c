"""Run with ``--llm-models=SPEC --llm-prompts=prompts.yaml``, a model that transformers runs in float32."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmci import LLM, Prompt

MOST_NATS = 0.2
"""A token: a fifth more or less probability."""


def test_half_precision_finds_the_answer_as_likely(
    llm: LLM, llm_open: Callable[[str], LLM], llm_prompt: Prompt
) -> None:
    half = llm_open(f"half={llm.spec.text.removeprefix(f'{llm.name}=')}+dtype=bfloat16")
    asked, answer = llm_prompt.text or "", llm_prompt.reference or ""
    whole, rounded = llm.score(asked, answer), half.score(asked, answer)
    assert abs(whole.per_token - rounded.per_token) <= MOST_NATS
    assert half.info["dtype"] == "bfloat16"
