from __future__ import annotations

import time

import pytest

from pytest_llmci import backends, measure
from pytest_llmci.metrics import MetricDef
from pytest_llmci.registry import Registry
from pytest_llmci.runner import own_cost
from pytest_llmci.runner.loop import NoProgress


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(own_cost, "_OF_THIS_PROCESS", {})
    registry = Registry()
    backends.register(registry)
    measure.register(registry)
    return registry


def test_the_cost_is_measured_once_in_a_process(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    found = own_cost.own_cost(registry, NoProgress())
    assert found.keys() == {"own_latency", "own_time_around"}
    assert all(isinstance(nanoseconds, int) and nanoseconds > 0 for nanoseconds in found.values())
    monkeypatch.setattr(own_cost, "_measured", None)
    assert own_cost.own_cost(registry, NoProgress()) == found


def test_a_clock_that_goes_back_costs_nothing_but_the_figure(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(times))
    assert own_cost.own_cost(registry, NoProgress()) == {}


def test_what_instruments_cost_is_around_and_not_within(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = own_cost.own_cost(registry, NoProgress())
    monkeypatch.setattr(own_cost, "_OF_THIS_PROCESS", {})

    class Slow:
        metrics = (MetricDef(name="slow", unit="s", direction="none", definition=""),)

        def start(self) -> None:
            time.sleep(0.1)

        def stop(self) -> None:
            pass

        def read(self, facts: object) -> dict[str, float]:
            return {"slow": 0.0}

    monkeypatch.setattr("pytest_llmci.measure.children.ChildrenInstrument", Slow)
    slow = own_cost.own_cost(registry, NoProgress())
    assert slow["own_time_around"] - plain["own_time_around"] > 75e6
    assert slow["own_latency"] < 75e6
