"""pytest-benchmark's ``benchmark`` around a model: its rounds reach our log.

Registered only where pytest-benchmark is there, and told by the fixture itself: nothing of that package is imported.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import LLMCIError

if TYPE_CHECKING:
    from .armed import ArmedPlugin

PLUGINS = ("benchmark", "pytest_benchmark.plugin")
"""The names under which pytest may know it: found by itself, or asked for with ``-p``."""
FIXTURE = "benchmark"


class Benchmarked:
    """Looks at the fixture when a test's body is over."""

    def __init__(self, plugin: ArmedPlugin) -> None:
        self._plugin = plugin
        try:
            self._tool = f"pytest-benchmark {version('pytest-benchmark')}"
        except PackageNotFoundError:
            self._tool = "pytest-benchmark"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Load the model, which else were in the first round; note the rounds, also of a test that fails after them."""
        __tracebackhide__ = True
        self._load(getattr(item, "funcargs", {}))
        try:
            return (yield)
        finally:
            fixture = getattr(item, "funcargs", {}).get(FIXTURE)
            if fixture is not None and self._plugin.is_running:
                self._note(fixture)

    def _load(self, fixtures: Mapping[str, Any]) -> None:
        from ..engine.handles import LLM

        llm = fixtures.get("llm")
        if isinstance(llm, LLM) and getattr(fixtures.get(FIXTURE), "enabled", False) is True:
            with suppress(LLMCIError):  # the body meets the failure again, where the test can see it
                self._plugin.session.load(llm.spec)

    def _note(self, fixture: Any) -> None:
        stats, why = getattr(fixture, "stats", None), ""
        rounds: list[float] = []
        if getattr(fixture, "has_error", False):
            why = "what it called failed"
        elif stats is not None:
            rounds = [float(value) for value in stats.stats.data]
        elif getattr(fixture, "disabled", False):
            why = "pytest-benchmark was disabled (--benchmark-disable, or pytest-xdist)"
        else:
            return  # the test never used it, or it is another plugin's fixture
        if not rounds or not all(map(math.isfinite, rounds)):
            rounds, why = [], why or "it gave no round"
        self._plugin.session.note_benchmark(
            self._tool,
            rounds,
            int(getattr(stats, "iterations", 1) or 1),
            group=str(getattr(fixture, "group", None) or ""),
            reason=why,
        )
