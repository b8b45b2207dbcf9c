"""Registers what ``llmci_extras.py`` holds. An installed plugin would do the same in its own module."""

from __future__ import annotations

import pytest

from pytest_llmci import Registry


@pytest.hookimpl
def pytest_llmci_register(registry: Registry) -> None:
    registry.add("backend", "parrot", "llmci_extras:ParrotBackend", summary="repeats what it hears")
    registry.add("instrument", "voluntary_switches", "llmci_extras:VoluntarySwitches")
    registry.add("check", "mentions", "llmci_extras:MentionsCheck")
    registry.add("sink", "tsv", "llmci_extras:TsvSink")
    registry.add("plot", "words", "llmci_extras:WordsPlot.of")


@pytest.hookimpl
def pytest_llmci_environment(config: pytest.Config) -> dict[str, str]:
    return {"team": "aviary"}
