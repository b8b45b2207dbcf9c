from __future__ import annotations

import pytest

from pytest_llmci.plugin.repeat import options_given


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], []),
        (["-x", "tests", "-k", "name", "-n2"], []),
        (["--llmci", "tests"], ["--llmci"]),
        (["--llm-models=a,b", "--llmci-rounds=3"], ["--llm-models=a,b", "--llmci-rounds=3"]),
        (["--llm-models", "a", "tests", "--llmci-rounds", "3"], ["--llm-models a", "--llmci-rounds 3"]),
        (["--llmci-models", "a b"], ["--llmci-models 'a b'"]),
        (["--llmci-budget=ttft <= 1s"], ["'--llmci-budget=ttft <= 1s'"]),
        (["--llmci-plan", "tests"], ["--llmci-plan"]),
    ],
)
def test_our_options_keep_their_values_and_others_are_left_out(arguments: list[str], given: list[str]) -> None:
    assert options_given(arguments) == given
