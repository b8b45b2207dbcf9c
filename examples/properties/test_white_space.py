"""Run with ``--llm-models=SPEC``."""

from __future__ import annotations

import pytest

from pytest_llmci import LLM

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

QUESTIONS = ("What is the capital of France?", "Name three colours.", "Why is the sky blue?")


@pytest.mark.llmci(checks=[])  # each answer alone may be invalid: only the rule is judged
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(question=st.sampled_from(QUESTIONS), space=st.text(alphabet=" \t\n", min_size=1, max_size=4))
def test_white_space_at_the_end_keeps_an_answer_valid(llm: LLM, question: str, space: str) -> None:
    plain = llm.generate([{"role": "user", "content": question}], max_new_tokens=16)
    spaced = llm.generate([{"role": "user", "content": question + space}], max_new_tokens=16)
    assert not plain.is_valid or spaced.passes("valid"), repr(space)
