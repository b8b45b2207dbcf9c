from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmci.plugin.repeat import measuring_command, options_given, variables_given


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


@pytest.mark.parametrize(
    ("arguments", "environ", "command"),
    [
        (["--llm-models=echo", "--llmci-baseline=new"], {}, "pytest --llm-models=echo"),
        (["--llmci", "--llmci-baseline", "tests/a b"], {}, "pytest --llmci 'tests/a b'"),
        (["--llmci", "--llmci-baseline=x", "-k", "not slow", "-n2"], {}, "pytest --llmci -k 'not slow' -n2"),
        (["--llmci", "--llmci-baseline=x", "--llmci-update-baseline", "--llmci-plan", "--co"], {}, "pytest --llmci"),
        (["--llmci-suite=inference"], {"LLMCI": "1", "LLMCI_MODELS": "a b", "LLMCI_BASELINE": "x"},
         "LLMCI=1 LLMCI_MODELS='a b' pytest --llmci-suite=inference"),
        (["tests"], {"LLMCI_MODELS": "tiny"}, "LLMCI=1 LLMCI_MODELS=tiny pytest tests"),
    ],
)  # fmt: skip
def test_the_command_that_measures_is_the_users_own_without_baselines(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], environ: dict[str, str], command: str
) -> None:
    for name in ("LLMCI", "LLMCI_MODELS", "LLMCI_BASELINE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    config: Any = SimpleNamespace(invocation_params=SimpleNamespace(args=arguments))
    assert measuring_command(config) == command
