"""The pytest plugin ``llmci``: hooks only.

pytest loads this module in every run, so it imports nothing but pytest and the option table. What an armed session needs is
imported in :func:`pytest_configure`, once it is known to be armed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .fixtures import (
    MARKER,
    MARKER_HELP,
    NAMES,
    llm,
    llm_open,
    llm_profile,
    llm_prompt,
    llm_result,
    llmci_session,
)
from .options import add_options, is_armed

if TYPE_CHECKING:
    from pathlib import Path

    from .armed import ArmedPlugin

__all__ = ["llm", "llm_open", "llm_profile", "llm_prompt", "llm_result", "llmci_session"]

YAML_SUFFIXES = (".llm.yaml", ".llm.yml")
PLUGIN_NAMES = ("llmci", "pytest_llmci.plugin")
"""What pytest calls this plugin: by its entry point, and by ``-p`` or ``pytest_plugins``."""
ARMED: pytest.StashKey[ArmedPlugin] = pytest.StashKey()
"""Where an armed session keeps its state; absent otherwise."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Options and their ini twins."""
    for name in PLUGIN_NAMES:
        if not pluginmanager.hasplugin(name):
            pluginmanager.set_blocked(name)  # to be loaded a second time, by its other name, is an error of pytest's
    add_options(parser, pluginmanager)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """The hooks that other plugins may implement."""
    from . import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; set the session up if it is armed."""
    config.addinivalue_line("markers", MARKER_HELP)
    if is_armed(config):
        from ..garbage import collector_rare

        with collector_rare():  # hundreds of modules are imported, and all of them stay
            from .armed import arm

            arm(config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take our test files without Python; asked of every file, so a look at the name has to do."""
    if not file_path.name.endswith(YAML_SUFFIXES):
        return None
    from .yaml_files import collect_file, is_wanted

    return collect_file(file_path, parent) if is_wanted(file_path, parent) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use our fixtures, so that ``-m llmci`` selects them."""
    ours: pytest.MarkDecorator | None = None
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names and not NAMES.isdisjoint(names) and uses_our_fixture(item) and item.get_closest_marker(MARKER) is None:
            ours = ours or getattr(pytest.mark, MARKER)  # once: pytest looks each name up among those that are declared
            item.add_marker(ours)


def uses_our_fixture(item: pytest.Item) -> bool:
    """Whether one of the names resolves to our fixture and not to a user's own."""
    from .collecting import resolves_to_ours

    return any(resolves_to_ours(item, name) for name in NAMES.intersection(getattr(item, "fixturenames", ())))
