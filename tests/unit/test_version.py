from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

import pytest_llmci
from pytest_llmci.version import version


def test_comes_from_the_installed_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"pytest-llmci": "9.8.7"}.__getitem__)
    assert version() == "9.8.7"
    assert pytest_llmci.__version__ == "9.8.7"


def test_a_bare_directory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert version() == "0+unknown"


def test_is_the_one_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    if version() != "0+unknown":
        assert version() == project["project"]["version"]
