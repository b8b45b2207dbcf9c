"""Run with ``pytest --llm-models=parrot,loud=parrot+shout=yes --llm-prompts=prompts.yaml --llmci-sink=tsv``, also with ``-n2``."""

from __future__ import annotations

import pytest

from pytest_llmci import CellResult


@pytest.mark.llmci(
    rounds=3, checks=["mentions:cracker"], budgets=["voluntary_switches.max <= 1000", "output_tokens >= 2"]
)
def test_wants_a_cracker(llm_result: CellResult) -> None:
    assert llm_result.voluntary_switches.median >= 0
    assert llm_result.output.passes("mentions:Polly")
