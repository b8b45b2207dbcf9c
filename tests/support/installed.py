"""Whether heavy packages are there, without importing them: pytester forgets modules between tests, and torch cannot be imported twice."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

needs_models = pytest.mark.skipif(
    not (find_spec("torch") and find_spec("transformers")), reason="needs torch and transformers"
)
