"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "pytest_llmci").rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


def test_examples_are_found() -> None:
    assert {"pytest_llmci.units", "pytest_llmci.slugs", "pytest_llmci.specs"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name: str) -> None:
    if name.endswith(".__init__"):
        name = name.removesuffix(".__init__")
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
