"""Turns LLM benchmarks into test suites.

pytest loads this package in every run, so names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.handles import LLM, Score
    from .engine.reports.frames import Run, load_run
    from .engine.results import CellResult, Generation
    from .errors import BudgetExceeded, InvalidOutput, LLMCIError, MissingValue, RegressionDetected
    from .measure.profile import Measured, llm_profile, profile
    from .metrics import MetricDef
    from .records import (
        CheckResult,
        Completion,
        ContinuationScore,
        GenerationSettings,
        Missing,
        ModelSpec,
        Prompt,
        ScoreRequest,
    )
    from .registry import Registry
    from .stats.compare import GateSettings, Verdicts, decide

_HOMES = {
    "BudgetExceeded": "errors",
    "CellResult": "engine.results",
    "CheckResult": "records",
    "Completion": "records",
    "ContinuationScore": "records",
    "GateSettings": "stats.compare",
    "Generation": "engine.results",
    "GenerationSettings": "records",
    "InvalidOutput": "errors",
    "LLM": "engine.handles",
    "LLMCIError": "errors",
    "Measured": "measure.profile",
    "MetricDef": "metrics",
    "Missing": "records",
    "MissingValue": "errors",
    "ModelSpec": "records",
    "Prompt": "records",
    "RegressionDetected": "errors",
    "Registry": "registry",
    "Run": "engine.reports.frames",
    "Score": "engine.handles",
    "ScoreRequest": "records",
    "Verdicts": "stats.compare",
    "decide": "stats.compare",
    "load_run": "engine.reports.frames",
    "llm_profile": "measure.profile",
    "profile": "measure.profile",
}

__all__ = [
    "LLM",
    "BudgetExceeded",
    "CellResult",
    "CheckResult",
    "Completion",
    "ContinuationScore",
    "GateSettings",
    "Generation",
    "GenerationSettings",
    "InvalidOutput",
    "LLMCIError",
    "Measured",
    "MetricDef",
    "Missing",
    "MissingValue",
    "ModelSpec",
    "Prompt",
    "Registry",
    "RegressionDetected",
    "Run",
    "Score",
    "ScoreRequest",
    "Verdicts",
    "__version__",
    "decide",
    "llm_profile",
    "load_run",
    "profile",
]

__version__: str


def __getattr__(name: str) -> object:
    if name == "__version__":
        from .version import version

        return version()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
