from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmci.backends import BACKENDS
from pytest_llmci.backends.base import COMMON_OPTIONS
from pytest_llmci.backends.openai.endpoint import OPTIONS
from pytest_llmci.backends.tiny import TinyBackend
from pytest_llmci.backends.transformers import TransformersBackend

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("known", [COMMON_OPTIONS, TransformersBackend.OPTIONS, TinyBackend.OPTIONS, OPTIONS])
def test_every_key_of_a_spec_is_told(known: dict[str, str]) -> None:
    text = (DOCS / "models.md").read_text("utf-8") + (DOCS / "endpoints.md").read_text("utf-8")
    assert [key for key in known if f"`+{key}=" not in text and f"`{key}`" not in text] == []


def test_every_backend_is_told() -> None:
    text = (DOCS / "models.md").read_text("utf-8")
    assert [entry.name for entry in BACKENDS if f"`{entry.name}`" not in text] == []
