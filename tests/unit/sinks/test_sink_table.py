from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_llmci.errors import ConfigError, UnknownNameError
from pytest_llmci.registry import Registry
from pytest_llmci.sinks import DEFAULT_SINKS, SINKS, open_sink, open_sinks, register
from pytest_llmci.sinks.csv import CsvSink
from pytest_llmci.sinks.json import JsonSink


@pytest.fixture
def registry() -> Registry:
    table = Registry()
    register(table)
    return table


def test_every_entry_can_be_built(registry: Registry) -> None:
    assert registry.names("sink") == sorted(entry.name for entry in SINKS)
    for entry in SINKS:
        assert entry.summary
        if entry.extra and find_spec(entry.name) is None:
            continue
        assert callable(open_sink(entry.name, registry, "--sink").write)


def test_default_sinks_are_csv_and_json(registry: Registry) -> None:
    assert [type(sink) for sink in open_sinks(DEFAULT_SINKS, registry, "--sink")] == [CsvSink, JsonSink]


def test_one_sink_for_each_text(registry: Registry) -> None:
    assert len(open_sinks(["csv", "csv:there", "csv"], registry, "--sink")) == 2


def test_a_target_may_hold_colons(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(CsvSink, "__init__", lambda _, target: given.append(target))
    open_sink("csv:C:/results", registry, "--sink")
    assert given == ["C:/results"]


def test_an_unknown_sink_names_the_known_ones(registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="--sink: unknown sink 'cvs'. Did you mean 'csv'"):
        open_sink("cvs", registry, "--sink")


def test_an_entry_that_is_no_class_is_one_line(registry: Registry) -> None:
    registry.add("sink", "odd", "pytest_llmci.sinks:DEFAULT_SINKS")
    with pytest.raises(ConfigError, match="sink 'odd' is registered as pytest_llmci.sinks:DEFAULT_SINKS, which is no"):
        open_sink("odd", registry, str(Path("--sink")))
