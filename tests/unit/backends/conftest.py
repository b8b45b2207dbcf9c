"""What the tests of all model sources share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmci.backends.base import LoadContext
from pytest_llmci.records import ModelSpec, Prompt

MakeSpec = Callable[..., ModelSpec]


@pytest.fixture
def spec() -> MakeSpec:
    """``spec("echo", "some text", ttft="20ms")``."""

    def make(backend: str, target: str = "", *, revision: str = "", **options: str) -> ModelSpec:
        keys = "".join(f"+{key}={value}" for key, value in options.items())
        text = f"{backend}:{target}{'@' if revision else ''}{revision}{keys}"
        return ModelSpec(alias="m", backend=backend, target=target, revision=revision, options=options, text=text)

    return make


@pytest.fixture
def said() -> list[str]:
    """What a backend told people while it loaded."""
    return []


@pytest.fixture
def context(tmp_path: Path, said: list[str]) -> LoadContext:
    return LoadContext(threads=1, cache_dir=str(tmp_path / "cache"), say=said.append)


@pytest.fixture
def prompt() -> Prompt:
    return Prompt(id="tcp", text="What is TCP?")
