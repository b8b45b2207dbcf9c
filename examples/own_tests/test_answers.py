"""A team's own tests. Run with ``pytest --llm-models=smollm2+template=on --llm-prompts=paper``; without the flag they skip."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import pytest_llmci
from pytest_llmci import LLM, CellResult, Measured, Prompt


def test_answers(llm: LLM, llm_prompt: Prompt) -> None:
    """One test for each model x prompt; the answer is recorded and checked, not gated on time."""
    out = llm.generate(llm_prompt, max_new_tokens=20)
    assert out.text.strip()
    assert out.output_tokens <= 20


@pytest.mark.llmci(rounds=3, budgets=["latency.median <= 60s", "peak_rss <= 8GiB"])
def test_cell(llm_result: CellResult) -> None:
    """Measured rounds of one cell, with budgets of its own."""
    assert llm_result.output.is_valid
    assert llm_result.latency.median < 60


def test_block(llm: LLM) -> None:
    """The same instruments around a block, inside the model's process."""
    with llm.profile() as measured:
        llm.generate("Say hello.", max_new_tokens=5)
    assert measured.peak_rss < 8 * 2**30


def test_function(llm_profile: Callable[..., Measured]) -> None:
    """Any function, in this process."""
    measured = llm_profile(sorted, range(100_000), reverse=True)
    assert measured.cpu_time < 10


def test_anything() -> None:
    """Any code, armed or not."""
    with pytest_llmci.profile() as measured:
        sum(range(100_000))
    assert measured.wall_time > 0
