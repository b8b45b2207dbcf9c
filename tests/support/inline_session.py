"""A session whose models live in the tests' own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_llmci import backends, checks
from pytest_llmci.clock import FakeClock
from pytest_llmci.engine.current_test import CurrentTest
from pytest_llmci.engine.observer import Silent
from pytest_llmci.engine.schedule import CellMeasurement, CellPlan
from pytest_llmci.engine.session import BenchSession
from pytest_llmci.measure import builtin_metrics
from pytest_llmci.records import Cell, GenerationSettings, LogRecord, ModelSpec, Prompt
from pytest_llmci.registry import Registry
from pytest_llmci.settings import Settings
from pytest_llmci.specs import parse_spec

PROMPT = Prompt(id="tcp", text="What is TCP?")
GENERATION = GenerationSettings(max_new_tokens=8)


class Bed:
    """A session whose models live in this process, and what it recorded."""

    def __init__(self, tmp_path: Path, observer: Silent | None = None, **settings: Any) -> None:
        self.registry = Registry()
        for table in (backends, checks):
            table.register(self.registry)
        self.records: list[LogRecord] = []
        self.clock = FakeClock()
        self.session = BenchSession(
            Settings(isolation="inline", **settings), self.registry, {metric.name: metric for metric in builtin_metrics()},
            clock=self.clock, observer=observer or Silent(), emit=self.records.append, log_folder=tmp_path, sys_path=[],
        )  # fmt: skip
        self.session.test = CurrentTest("test_it", attempt=1)

    def model(self, text: str) -> ModelSpec:
        return parse_spec(text, self.registry.names("backend"), "x")

    def measure(self, text: str, **changes: Any) -> CellMeasurement:
        facts: dict[str, Any] = {"rounds": 3, "max_rounds": 3, "warmup": 1, "block": 5, "generation": GENERATION}
        model = self.model(text)
        cell = Cell(id=f"{model.alias}-tcp", model=model, prompt=PROMPT)
        return self.session.measure(cell, CellPlan(**{**facts, **changes}))

    @property
    def kinds(self) -> list[str]:
        return [record.TYPE for record in self.records]
