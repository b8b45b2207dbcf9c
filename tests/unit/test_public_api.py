"""What users may import, and that asking for it costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_llmci

ROOT = Path(__file__).parents[2]
DOCUMENTED = {
    *("profile", "llm_profile", "Measured"),
    *("LLM", "Generation", "Score", "CellResult", "ScoreRequest", "ContinuationScore"),
    *("ModelSpec", "Prompt", "GenerationSettings", "Completion", "CheckResult", "MetricDef", "Registry"),
    *("Missing", "MissingValue", "BudgetExceeded", "InvalidOutput", "RegressionDetected", "LLMCIError"),
    *("decide", "GateSettings", "Verdicts"),
    *("load_run", "Run"),
    "__version__",
}
"""Stable names; to take one away or to add one is a decision, made here and in the changelog."""
HEAVY = {
    *("torch", "transformers", "pandas", "mlflow", "matplotlib"),
    *("numpy", "scipy", "psutil", "yaml", "jsonschema"),
}


def test_the_names_are_the_documented_ones_in_order() -> None:
    assert set(pytest_llmci.__all__) == DOCUMENTED
    assert len(pytest_llmci.__all__) == len(DOCUMENTED)
    assert dir(pytest_llmci) == sorted(DOCUMENTED)


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_every_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    found = getattr(pytest_llmci, name)
    assert found.__doc__
    if name != "__version__":
        assert found.__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pytest_llmci' has no attribute 'nothing'"):
        pytest_llmci.nothing  # noqa: B018  # to be refused


@pytest.mark.parametrize("module", ["pytest_llmci", "pytest_llmci.plugin"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys; sys.path.insert(0, sys.argv[1]); import {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, check=True, text=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "pytest_llmci" in loaded
    assert not HEAVY & loaded


def test_importing_the_package_loads_no_module_of_it() -> None:
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import pytest_llmci; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, check=True, text=True)
    assert [name for name in json.loads(done.stdout) if name.startswith("pytest_llmci")] == ["pytest_llmci"]
