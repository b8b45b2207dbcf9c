"""The benchmarks are no part of the distribution: they are imported from the root of the repository."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def benchmark_module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark after which the test's file is named: ``test_pairs.py`` gets ``benchmarks.pairs``."""
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks." + request.path.stem.removeprefix("test_"))
