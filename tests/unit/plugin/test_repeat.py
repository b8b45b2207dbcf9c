from __future__ import annotations

import pytest

from pytest_llmci.plugin.repeat import options_given, variables_given


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
        (["--llmci-baseline", "tests"], ["--llmci-baseline"]),
        (["--llmci-baseline=main", "tests"], ["--llmci-baseline=main"]),
        (["--llmci-save-baseline", "tests", "--llmci-update-baseline=a"], []),
    ],
)
def test_our_options_keep_their_values_and_others_are_left_out(arguments: list[str], given: list[str]) -> None:
    assert options_given(arguments) == given


def test_variables_that_write_a_baseline_are_left_out() -> None:
    given = {"LLMCI_SAVE_BASELINE": "a", "LLMCI_UPDATE_BASELINE": "b", "LLMCI_BASELINE": "c"}
    assert variables_given(given) == ["LLMCI_BASELINE=c"]
