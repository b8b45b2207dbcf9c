"""Enables pytest's own pytester for the end-to-end tests, which must stand in the root, and what tests of all folders share."""

from __future__ import annotations

from pathlib import Path

import numpy as np  # noqa: F401  # cannot be loaded twice, and pytester forgets what a session in this process was the first to import
import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]

# How long an example takes says nothing of its property: a pause of the machine longer than hypothesis's 200 ms failed one.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def conversions(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory of all tests of this run, whichever worker they run in: SmolLM2's weights take twelve seconds to convert."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if hasattr(pytestconfig, "workerinput") else base) / "conversions"
